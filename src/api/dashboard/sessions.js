// The list of sessions.

import { byId, element, reconcile, setAttribute, setText } from "./dom.js";
import { ago, count, moment, percent, rate, words } from "./format.js";

/** Tells whether a process works on the session, or did until it was killed. */
export const isAtWork = (session) => ["running", "pausing", "cancelling"].includes(session.state);

/** Puts a state into a badge. */
export function showState(badge, state) {
  setText(badge, words(state));
  setAttribute(badge, "data-state", state);
}

function make(choose) {
  return (session) => {
    const button = element(
      "button",
      { type: "button" },
      element("span", { class: "line" }, element("span", { class: "number" }), element("span", { class: "badge" })),
      element("span", { class: "bar thin", "aria-hidden": "true" }, element("span", { class: "done" })),
      element("span", { class: "line small" }, element("span", { class: "rows" }), element("time", {})),
    );
    button.addEventListener("click", () => choose(session.sessionId));
    return element("li", {}, button);
  };
}

function update(item, session, chosen) {
  const button = item.firstElementChild;
  setAttribute(button, "aria-current", session.sessionId === chosen ? "true" : null);
  setText(button.querySelector(".number"), `#${session.number}`);
  showState(button.querySelector(".badge"), session.state);
  const bar = button.querySelector(".bar");
  bar.hidden = !isAtWork(session) && session.state !== "paused";
  bar.firstElementChild.style.width = `${percent(session.rowsDone, session.rowsTotal)}%`;
  setText(button.querySelector(".rows"), `${count(session.rowsDone)} rows · ${rate(session.rowsPerSec)}/s`);
  const time = button.querySelector("time");
  const began = new Date(session.startedAt);
  setText(time, ago(began));
  setAttribute(time, "datetime", session.startedAt);
  setAttribute(time, "title", moment(began));
}

/** Shows the sessions; `choose(id)` is called when one is picked. */
export function showSessions(sessions, chosen, choose) {
  reconcile(
    byId("sessions"),
    sessions,
    (session) => session.sessionId,
    make(choose),
    (item, session) => update(item, session, chosen),
  );
}
