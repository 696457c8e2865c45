// The dialogs. Each is a <dialog>: it keeps the focus, Esc closes it, and the focus returns to where it was.

import { byId, setText } from "./dom.js";

for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close(""));
}

/** Opens a dialog and resolves when it is closed: true if it was confirmed. */
function ask(dialog, first) {
  return new Promise((resolve) => {
    const form = dialog.querySelector("form");
    let confirmed = false;
    form.onsubmit = () => {
      confirmed = true;
    };
    dialog.onclose = () => resolve(confirmed);
    dialog.returnValue = "";
    dialog.showModal();
    first.focus();
  });
}

/** Opens a dialog whose answer is sent at once; it stays open, with the reason, when that fails. */
function act(dialog, yes, first, problem, deed) {
  const form = dialog.querySelector("form");
  problem.hidden = true;
  yes.disabled = false;
  form.onsubmit = async (event) => {
    event.preventDefault();
    if (yes.disabled) return;
    yes.disabled = true;
    problem.hidden = true;
    try {
      await deed();
      dialog.close();
    } catch (error) {
      setText(problem, error.message);
      problem.hidden = false;
    }
    yes.disabled = false;
  };
  dialog.showModal();
  first.focus();
}

/** Asks before `deed` is done. */
export function confirm({ title, text, yes, isDangerous }, deed) {
  const dialog = byId("confirm");
  setText(byId("confirm-title"), title);
  setText(byId("confirm-text"), text);
  setText(byId("confirm-yes"), yes);
  byId("confirm-yes").className = isDangerous ? "primary danger" : "primary";
  // What cannot be taken back is never one blind press of the Enter key away.
  const first = isDangerous ? dialog.querySelector("[data-close]") : byId("confirm-yes");
  act(dialog, byId("confirm-yes"), first, byId("confirm-problem"), deed);
}

/** Asks what to migrate; `deed` gets the names of the entities. */
export function start(deed) {
  const names = () =>
    byId("start-entities")
      .value.split(",")
      .map((name) => name.trim())
      .filter(Boolean);
  act(byId("start-dialog"), byId("start-yes"), byId("start-entities"), byId("start-problem"), () => deed(names()));
}

/** Asks for the token; resolves to null when none is given. */
export async function askForToken(wasWrong) {
  const dialog = byId("token-dialog");
  const field = byId("token");
  const problem = byId("token-problem");
  problem.hidden = !wasWrong;
  setText(problem, wasWrong ? "The server does not accept this token." : "");
  field.value = "";
  const given = await ask(dialog, field);
  const token = field.value.trim();
  // The secret does not stay in the page.
  field.value = "";
  // Anything else could not be sent in a header.
  return given && /^[!-~]+$/.test(token) ? token : null;
}

/** Shows the shortcuts. */
export function help() {
  byId("help-dialog").showModal();
}

/** Tells whether a dialog is open. */
export const isAnyOpen = () => document.querySelector("dialog[open]") !== null;
