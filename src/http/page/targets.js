// The targets, as chips: added with Enter or the button, removed by their own buttons or with Backspace in the empty field.

import { $, el } from "./dom.js";
import { t } from "./i18n.js";

const MOST = 16;
const targets = [];
let announce = () => {};

export const all = () => [...targets];

/** Takes what stands in the field along: a target that was typed and not added was meant. */
export function settle() {
  add($("target").value);
  return all();
}

export function set(list) {
  targets.splice(0, targets.length, ...list);
  $("target").value = "";
  draw();
}

/** Marks the one that the service found fault with. */
export function blame(index) {
  $("targets").children[index]?.classList.add("bad");
}

function add(text) {
  const target = text.trim();
  $("targets-error").textContent = "";
  $("target").removeAttribute("aria-invalid");
  if (!target) return;
  if (!targets.includes(target)) {
    if (targets.length === MOST) {
      $("targets-error").textContent = t("targets.full");
      $("target").setAttribute("aria-invalid", "true");
      return;
    }
    targets.push(target);
    announce(t("targets.added", { target }));
  }
  $("target").value = "";
  draw();
}

function remove(index) {
  const [target] = targets.splice(index, 1);
  draw();
  announce(t("targets.removed", { target }));
  // The focus stays at hand: the chip that came into the place, or the field.
  const next = $("targets").children[Math.min(index, targets.length - 1)];
  (next?.querySelector("button") ?? $("target")).focus();
}

function draw() {
  $("targets").replaceChildren(
    ...targets.map((target, index) =>
      el(
        "li",
        { className: "chip" },
        el("bdi", {}, target),
        el(
          "button",
          { type: "button", "aria-label": t("targets.remove", { target }), onclick: () => remove(index) },
          el("span", { "aria-hidden": "true" }, "×"),
        ),
      ),
    ),
  );
  $("targets").hidden = targets.length === 0;
}

export function start(announcer) {
  announce = announcer;
  $("target").addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      add($("target").value);
    } else if (event.key === "Backspace" && !$("target").value && targets.length > 0) {
      event.preventDefault();
      remove(targets.length - 1);
      $("target").focus();
    }
  });
  $("target-add").addEventListener("click", () => {
    add($("target").value);
    $("target").focus();
  });
  draw();
}

export const redraw = draw;
