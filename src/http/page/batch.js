// Many articles through the service: small requests, two at a time, patient where it is busy, and nothing asked twice.

import { ApiError, patiently } from "./api.js";

/** Two keep the service busy while an answer travels; more would only take others' places in its queue. */
const AT_ONCE = 2;
/** Small enough for a bar that moves and for any sensible body limit. */
const ARTICLES = 16;
const CHARACTERS = 200_000;

/**
 * Fills `results`, an array with a place for each of `articles`; places that are filled already are not asked again.
 * `send(articles, signal)` answers with as many results. An article that the service refuses has `{error}` in its place.
 */
export async function run(articles, results, { send, signal, onProgress, onWait }) {
  const waiting = chunks(articles, results);
  // One worker's failure stops the other.
  const failed = new AbortController();
  const both = AbortSignal.any([signal, failed.signal]);
  const worker = async () => {
    try {
      for (let chunk = waiting.shift(); chunk; chunk = waiting.shift()) {
        both.throwIfAborted();
        await answer(chunk);
      }
    } catch (error) {
      failed.abort();
      throw error;
    }
  };
  const answer = async (chunk) => {
    try {
      const verdicts = await patiently(() => send(chunk.map((index) => articles[index]), both), {
        signal: both,
        lost: 4,
        onWait,
      });
      chunk.forEach((index, place) => (results[index] = verdicts[place]));
    } catch (error) {
      // Too large together, or one that spoils the request: each half on its own tells which.
      if (!(error instanceof ApiError) || ![400, 413, 422].includes(error.status)) throw error;
      if (chunk.length > 1) {
        const middle = Math.ceil(chunk.length / 2);
        waiting.unshift(chunk.slice(0, middle), chunk.slice(middle));
        return;
      }
      const { code, message, param } = error;
      results[chunk[0]] = { ...(articles[chunk[0]].id && { id: articles[chunk[0]].id }), error: { code, message, param } };
    }
    onProgress();
  };
  const outcomes = await Promise.allSettled(Array.from({ length: AT_ONCE }, worker));
  const reasons = outcomes.filter((outcome) => outcome.status === "rejected").map((outcome) => outcome.reason);
  // What stopped the other one is the reason, not that it was stopped.
  if (reasons.length > 0) throw reasons.find((reason) => reason.name !== "AbortError") ?? reasons[0];
}

/** Indices of the articles without a result, a request's worth each. */
function chunks(articles, results) {
  const list = [];
  let size = 0;
  articles.forEach((article, index) => {
    if (results[index]) return;
    const characters = article.text.length + (article.title?.length ?? 0);
    const last = list.at(-1);
    if (!last || last.length === ARTICLES || size + characters > CHARACTERS) {
      list.push([index]);
      size = characters;
    } else {
      last.push(index);
      size += characters;
    }
  });
  return list;
}
