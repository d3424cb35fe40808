// The service, as this page uses it. Addresses are relative, so that the page works behind a proxy's path prefix too.

const KEY = "tasnif.key";

/** A failure as the service tells it: `{"error": {"code", "message", "param"}}`; code `network` where there was no answer. */
export class ApiError extends Error {
  constructor({ status = 0, code = "internal", message = "", param = null, retryAfter = null }) {
    super(message);
    Object.assign(this, { status, code, param, retryAfter });
  }
}

/** The key that the service asked for, in this tab only. */
export const setKey = (key) => sessionStorage.setItem(KEY, key);

async function call(path, { body, signal } = {}) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  let text;
  try {
    response = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body, signal });
    text = await response.text();
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new ApiError({ code: "network" });
  }
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    // A proxy's page, most likely.
    throw new ApiError({ status: response.status, code: response.ok ? "internal" : `http_${response.status}` });
  }
  if (!response.ok) {
    const seconds = Number.parseFloat(response.headers.get("Retry-After"));
    throw new ApiError({
      ...value.error,
      status: response.status,
      retryAfter: Number.isFinite(seconds) ? seconds : null,
    });
  }
  return value;
}

export const models = async (options) => (await call("v1/models", options)).models;

/** One article to its verdict, or `{articles}` to `{verdicts}`. */
export const classify = (request, options) => call("v1/classify", { ...options, body: JSON.stringify(request) });

/** Resolves after so many seconds, or rejects as soon as the signal aborts. */
function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, seconds * 1000);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/**
 * Calls `send` again while the service says that it is full (429) or not there yet (503), after as long as it asks for: up to `busy` times, and up
 * to `lost` times where the connection was lost. `onWait(error, seconds)` is told before each wait.
 */
export async function patiently(send, { signal, busy = Infinity, lost = 0, onWait }) {
  for (let waits = 0; ; waits++) {
    try {
      return await send();
    } catch (error) {
      const code = error instanceof ApiError ? error.code : "";
      const most = [429, 503].includes(error.status) ? busy : code === "network" ? lost : 0;
      if (waits >= most) throw error;
      const seconds = error.retryAfter ?? Math.min(30, 2 ** waits);
      onWait(error, seconds);
      await pause(seconds, signal);
    }
  }
}
