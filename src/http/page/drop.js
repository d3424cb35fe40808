// Files: dropped onto a text area, or opened with the button below it.

import { $ } from "./dom.js";

/** `open(files)` gets what comes into the place called `name`; text that is dropped is the text area's own business. */
export function drop(name, open) {
  const place = $(`drop-${name}`);
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  place.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    place.classList.add("over");
  });
  place.addEventListener("dragleave", () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    place.classList.remove("over");
    if (!hasFiles(event)) return;
    event.preventDefault();
    open([...event.dataTransfer.files]);
  });
  const chooser = $(`file-${name}`);
  chooser.addEventListener("change", async () => {
    await open([...chooser.files]);
    // The same file can be opened again after a correction.
    chooser.value = "";
  });
}
