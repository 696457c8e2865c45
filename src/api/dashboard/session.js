// The chosen session: what it is, how far it is, and what may be done to it.

import { byId, element, reconcile, setAttribute, setText } from "./dom.js";
import { count, duration, moment, percent, plural, rate, words } from "./format.js";
import { isAtWork, showState } from "./sessions.js";

/** What may be done in which state; the server has the last word. */
const ALLOWED = {
  pause: ["running"],
  resume: ["paused", "pausing", "cancelling", "interrupted"],
  cancel: ["running", "pausing", "paused", "interrupted"],
};

/** Tells whether a deed makes sense in the session's state. */
export const allows = (session, deed) => Boolean(session) && ALLOWED[deed].includes(session.state);

const sum = (steps, field) => steps.reduce((total, step) => total + step[field], 0);

/** What holds a session up, in words. */
const LIMITS = { source: "the source", target: "the target", hashing: "hashing", lock: "a lock" };

/** The time to go: a range where two estimates disagree, and nothing where nothing is known. */
function toGo({ etaSecs, etaHighSecs }) {
  if (etaSecs === null) return "–";
  const [low, high] = [duration(etaSecs), duration(etaHighSecs ?? etaSecs)];
  return low === high ? low : `${low} to ${high}`;
}

function figures(session, now) {
  const { steps } = session;
  const over = session.finishedAt ?? null;
  const began = Date.parse(session.startedAt);
  const lasted = ((over ? Date.parse(over) : now) - began) / 1000;
  const aside = sum(steps, "setAside");
  return [
    ["Rate", `${rate(session.recentRowsPerSec ?? session.rowsPerSec)} rows/s`],
    ["To go", toGo(session)],
    [over ? "Took" : isAtWork(session) ? "Running for" : "Began", isAtWork(session) || over ? duration(lasted) : `${duration(lasted)} ago`],
    ["Inserted", count(sum(steps, "inserted"))],
    ["Updated", count(sum(steps, "updated"))],
    ["Retired", count(sum(steps, "retired"))],
    ["Set aside", count(aside), aside > 0 ? "warn" : null],
    ["Batches", count(sum(steps, "batches"))],
    ["Checkpoint", session.process?.checkpointAgeSecs ? `${duration(session.process.checkpointAgeSecs)} ago` : "–"],
    ["Limited by", LIMITS[session.limitedBy] ?? "–"],
    ["Memory", session.process?.memoryBytes ? `${count(session.process.memoryBytes / 2 ** 20)} MiB` : "–"],
    ["Heartbeat", session.heartbeatSecs === null ? "–" : `${session.heartbeatSecs} s ago`, session.heartbeatSecs > 15 ? "warn" : null],
  ];
}

function showMeta(session) {
  const parts = [
    `began ${moment(new Date(session.startedAt))}`,
    session.finishedAt && `ended ${moment(new Date(session.finishedAt))}`,
    `process ${session.processId} on ${session.host}`,
    session.sessionId,
  ];
  setText(byId("session-meta"), parts.filter(Boolean).join(" · "));
}

/** Shows the head and the figures of a session; `now` is the time of the server. */
export function showSession(session, now) {
  setText(byId("session-title"), `Session ${session.number}`);
  showState(byId("session-state"), session.state);
  showMeta(session);
  byId("session-error").hidden = !session.error;
  setText(byId("session-error"), session.error ?? "");
  const share = percent(session.rowsDone, session.rowsTotal);
  setText(byId("total-percent"), session.rowsTotal > 0 ? `${share} %` : isAtWork(session) ? "Looking for changes" : "Nothing to do");
  byId("total-bar").hidden = session.rowsTotal === 0;
  setText(byId("total-rows"), session.rowsTotal === 0 ? "" : `${count(session.rowsDone)} of ${plural(session.rowsTotal, "row")}`);
  showBar(byId("total-bar"), session.rowsDone, session.rowsTotal, session.state);
  reconcile(
    byId("figures"),
    figures(session, now),
    ([name]) => name,
    ([name]) => element("div", {}, element("dt", {}, name), element("dd", {})),
    (row, [, value, tone]) => {
      setText(row.lastElementChild, value);
      setAttribute(row, "data-tone", tone);
    },
  );
  document.title = isAtWork(session) ? `${share} % · session ${session.number} · diffmig` : `Session ${session.number} ${words(session.state)} · diffmig`;
}

/** Fills a progress bar. */
export function showBar(bar, done, total, state) {
  const share = percent(done, total);
  bar.firstElementChild.style.width = `${share}%`;
  setAttribute(bar, "aria-valuenow", share);
  setAttribute(bar, "aria-valuetext", `${share} %, ${count(done)} of ${plural(total, "row")}`);
  setAttribute(bar, "data-state", state);
}
