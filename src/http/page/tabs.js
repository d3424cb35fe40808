// The two tabs, as the ARIA Authoring Practices describe them: arrow keys move between them, Tab moves into the panel.

import { $ } from "./dom.js";

const NAMES = ["one", "many"];

export function choose(name) {
  for (const other of NAMES) {
    const chosen = other === name;
    const tab = $(`tab-${other}`);
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    $(`panel-${other}`).hidden = !chosen;
    $(`actions-${other}`).hidden = !chosen;
  }
  $("answer").hidden = name !== "one";
  $("batch").hidden = name !== "many";
}

export function start() {
  NAMES.forEach((name, index) => {
    const tab = $(`tab-${name}`);
    tab.addEventListener("click", () => choose(name));
    tab.addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
      event.preventDefault();
      const next = event.key === "Home" ? 0 : event.key === "End" ? NAMES.length - 1 : 1 - index;
      choose(NAMES[next]);
      $(`tab-${NAMES[next]}`).focus();
    });
  });
}
