// Small tools for the document. Nothing here or elsewhere parses HTML from strings: texts become text nodes.

export const $ = (id) => document.getElementById(id);

/**
 * An element with its properties and children. `data-`, `aria-` and other hyphenated names, `role`, `for`, `dir` and `lang` are set as
 * attributes, `--x` as custom properties of its style, `on…` as listeners, the rest as properties.
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("--")) element.style.setProperty(name, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || ["role", "for", "dir", "lang", "scope"].includes(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Saves a text as a file of the user's. */
export function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: url, download: name }).click();
  // The download has its own reference by then.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** localStorage that may be forbidden. */
export function remember(name, value) {
  try {
    localStorage.setItem(`tasnif.${name}`, value);
  } catch {
    // It holds for this page then.
  }
}
