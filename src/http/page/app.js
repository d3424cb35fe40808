// The page's beginning: puts its parts together.

import { setKey } from "./api.js";
import { $, remember } from "./dom.js";
import { drop } from "./drop.js";
import { read } from "./files.js";
import * as i18n from "./i18n.js";
import * as many from "./many.js";
import * as models from "./models.js";
import * as one from "./one.js";
import { wantsKey } from "./problems.js";
import * as tabs from "./tabs.js";
import * as targets from "./targets.js";

const { t } = i18n;

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

function announce(text) {
  // A repeated text is said again only if it changes.
  $("announce").textContent = "";
  requestAnimationFrame(() => ($("announce").textContent = text));
}

/** What waits for a key. */
const waiting = new Set();

/** Shows the field for a key; `again` runs with it. */
function askKey(again) {
  waiting.add(again);
  $("key-form").hidden = false;
  $("key").focus();
}

function useKey(event) {
  event.preventDefault();
  const key = $("key").value.trim();
  if (!key) return;
  setKey(key);
  $("key").value = "";
  $("key-form").hidden = true;
  const list = [...waiting];
  waiting.clear();
  for (const again of list) again();
}

async function loadModels() {
  try {
    await models.load((error) => notice(error.code === "network" ? t("error.network") : t("starting")));
    notice("");
  } catch (error) {
    if (wantsKey(error)) askKey(loadModels);
    else notice(t("error.internal"));
  }
}

function theme() {
  const order = ["auto", "light", "dark"];
  const root = document.documentElement;
  const say = () => ($("theme").textContent = t(`theme.${root.dataset.theme}`));
  $("theme").addEventListener("click", () => {
    root.dataset.theme = order[(order.indexOf(root.dataset.theme) + 1) % order.length];
    remember("theme", root.dataset.theme);
    say();
  });
  i18n.onLanguage(say);
}

/** One article goes into the form; several go to the list of many. */
async function openOne(files) {
  try {
    const { articles } = files.length === 1 ? read(files[0].name, await many.text(files[0])) : { articles: [] };
    if (articles.length === 1) {
      one.fill(articles[0]);
      $("text").focus();
      return;
    }
  } catch {
    // The list of many says what is wrong with it.
  }
  tabs.choose("many");
  await many.open(files);
}

function show(article) {
  tabs.choose("one");
  one.fill({ targets: [], ...article });
  $("answer").focus({ preventScroll: true });
  one.ask();
}

$("key-form").addEventListener("submit", useKey);
theme();
targets.start(announce);
models.start();
tabs.start();
drop("one", openOne);
drop("many", many.open);
i18n.onLanguage(targets.redraw);
one.start({ announce, notice, askKey });
many.start({ announce, notice, askKey, show });
i18n.start();
loadModels();
