// Shortcuts of one key. They can be switched off, for who speaks to the computer or hits keys by accident.

import { isAnyOpen } from "./dialogs.js";
import { byId } from "./dom.js";

const SETTING = "diffmig.singleKeys";
const isText = (node) => node.closest?.("input, select, textarea, [contenteditable]");

/** Calls `deeds[key]()` for a key that is pressed alone, outside of fields and dialogs. */
export function listen(deeds) {
  const box = byId("single-keys");
  box.checked = localStorage.getItem(SETTING) !== "off";
  box.addEventListener("change", () => localStorage.setItem(SETTING, box.checked ? "on" : "off"));
  document.addEventListener("keydown", (event) => {
    if (!box.checked || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (isAnyOpen() || isText(event.target)) return;
    const deed = deeds[event.key];
    if (!deed) return;
    event.preventDefault();
    deed();
  });
}
