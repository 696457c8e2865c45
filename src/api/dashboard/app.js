// The dashboard: one session is chosen and shown, and kept up to date for as long as the server is there.

import { Chart, ratesOf } from "./chart.js";
import { WORK_WITHIN_MS, Client, Refused, Unreachable } from "./client.js";
import { Connection } from "./connection.js";
import * as dialogs from "./dialogs.js";
import { announce, byId, setText } from "./dom.js";
import { showEntities } from "./entities.js";
import { showQuarantine, showVerification } from "./findings.js";
import { words } from "./format.js";
import { listen } from "./keys.js";
import { LINES_AT_FIRST, Log } from "./log.js";
import { allows, showSession } from "./session.js";
import { isAtWork, showSessions } from "./sessions.js";

const API = "api/migration";
const SESSIONS_SHOWN = 50;
const KEYS_SHOWN = 20;
const STREAM_AGAIN_MS = 3_000;

const client = new Client(dialogs.askForToken);
const connection = new Connection(() => client.get(`${API}/sessions?limit=1`));
const log = new Log();
const chart = new Chart();

/** What is known: the sessions, which of them is chosen, and its status. */
const known = { sessions: [], older: null, hasList: false, chosen: null, session: null };
let following = null;

const isWorking = () => known.session !== null && isAtWork(known.session);

async function readSessions() {
  const page = await client.get(`${API}/sessions?limit=${SESSIONS_SHOWN}`);
  const newest = known.sessions[0]?.sessionId;
  // The list is kept as long as the page joins on to it: not after a long sleep, and not when it is another database.
  const joins = page.sessions.some((it) => it.sessionId === newest);
  // Of what the page spans it is the last word: who is missing there was forgotten.
  const oldest = page.sessions.at(-1)?.number ?? 0;
  const before = joins && page.nextCursor ? known.sessions.filter((it) => it.number < oldest) : [];
  known.sessions = [...page.sessions, ...before];
  if (!joins) known.older = page.nextCursor ?? null;
  known.hasList = true;
  const first = known.sessions[0];
  const wanted = new URLSearchParams(location.hash.slice(1)).get("session");
  const isNew = first && newest && first.sessionId !== newest;
  if (!known.chosen && known.sessions.some((it) => it.sessionId === wanted)) choose(wanted);
  // Who watches the latest session wants to see the next one too.
  else if (first && (!known.chosen || (isNew && known.chosen === newest && !isWorking()))) choose(first.sessionId);
  show();
}

/** Reads the sessions before those in the list. */
async function readOlder() {
  const button = byId("older");
  const cursor = known.older;
  button.disabled = true;
  try {
    const page = await client.get(`${API}/sessions?limit=${SESSIONS_SHOWN}&cursor=${cursor}`);
    // The list may have begun anew meanwhile.
    if (known.older !== cursor) return;
    known.sessions = [...known.sessions, ...page.sessions];
    known.older = page.nextCursor ?? null;
    show();
  } catch (error) {
    connection.report(error);
  } finally {
    button.disabled = false;
  }
}

async function readSession() {
  const id = known.chosen;
  if (id) take(await client.get(`${API}/status/${id}`));
}

/** Takes the status of a session, wherever it comes from. */
function take(session) {
  if (session.sessionId !== known.chosen) return;
  const before = known.session;
  known.session = session;
  if (before?.state !== session.state) {
    if (before) announce(`Session ${session.number} is ${words(session.state)}.`);
    // How often they look depends on whether it is at work.
    for (const refresh of [refreshSessions, refreshHistory, refreshFindings]) refresh();
  }
  show();
  // Somebody resumed it elsewhere: its stream had ended.
  if (isAtWork(session) && !following) follow();
}

async function readHistory() {
  const id = known.chosen;
  if (!id) return;
  const history = await client.get(`${API}/history/${id}`);
  if (known.chosen === id) chart.show(ratesOf(history, isWorking() ? client.now() : null), isWorking());
}

async function readFindings() {
  const [quarantine, last] = await Promise.all([client.get(`${API}/quarantine?limit=1`), client.get(`${API}/verification`)]);
  showQuarantine(quarantine.totals, readKeys);
  showVerification(last.verification);
}

/** Some of the rows that are set aside for one reason. */
async function readKeys({ entity, status, reason }) {
  const query = new URLSearchParams({ entity, status, reason: reason.slice(0, 200), limit: KEYS_SHOWN });
  return (await client.get(`${API}/quarantine?${query}`)).rows;
}

const refreshSessions = connection.repeat(readSessions, () => 4_000);
// The stream brings the status as well, every second.
const refreshSession = connection.repeat(readSession, () => (following ? 15_000 : isWorking() ? 2_000 : 5_000));
const refreshHistory = connection.repeat(readHistory, () => (isWorking() ? 2_000 : 20_000));
const refreshFindings = connection.repeat(readFindings, () => (isWorking() ? 10_000 : 30_000));

/** Follows the chosen session, with the log from where the page left off. */
async function follow() {
  following?.abort();
  following = null;
  const id = known.chosen;
  if (!id || !connection.isUp || document.hidden) return;
  const mine = new AbortController();
  following = mine;
  try {
    const isOver = await readStream(id, mine.signal);
    if (following !== mine) return;
    following = null;
    // Without a word from the server the line was cut.
    if (!isOver) connection.report(new Unreachable("the stream broke off"));
  } catch (error) {
    if (following !== mine) return;
    following = null;
    // Too many streams, for instance: the rest of the page works without one.
    if (connection.isUp && error instanceof Refused && error.status !== 401) setTimeout(() => following ?? follow(), STREAM_AGAIN_MS);
    else connection.report(error);
  }
}

/** Reads a stream to its end; tells whether that is because nothing more will happen. */
async function readStream(id, signal) {
  for await (const { type, data } of client.stream(`${API}/events/${id}?tail=${LINES_AT_FIRST}`, log.lastId, signal)) {
    if (signal.aborted) return true;
    const said = JSON.parse(data);
    if (type === "log") log.add(said);
    if (type === "status") take(said);
    if (type === "end") return said.reason === "over";
    if (type === "trouble") {
      connection.report(new Refused(503, said.code, said.message));
      return true;
    }
  }
  return false;
}

function choose(id) {
  if (known.chosen === id) return;
  known.chosen = id;
  known.session = null;
  history.replaceState(null, "", `#session=${id}`);
  log.clear();
  chart.show([], false);
  refreshSession();
  refreshHistory();
  follow();
  show();
}

function step(by) {
  const at = known.sessions.findIndex((it) => it.sessionId === known.chosen);
  const next = known.sessions[at + by];
  if (next) choose(next.sessionId);
}

function show() {
  showSessions(known.sessions, known.chosen, choose);
  byId("older").hidden = known.older === null;
  const { session } = known;
  byId("nothing").hidden = session !== null;
  byId("session").hidden = session === null;
  const isEmpty = known.hasList && known.sessions.length === 0;
  setText(byId("nothing"), isEmpty ? "No session yet. Start a migration here, or with diffmig migrate." : "Loading…");
  if (session) {
    showSession(session, client.now());
    showEntities(session.steps);
  }
  showButtons();
}

function showButtons() {
  for (const deed of ["pause", "resume", "cancel"]) byId(deed).disabled = !connection.isUp || !allows(known.session, deed);
  byId("start").disabled = !connection.isUp || known.sessions.some(isAtWork);
}

/** What is asked before a session is touched. */
const QUESTIONS = {
  pause: (number) => ({
    title: `Pause session ${number}?`,
    text: "It finishes the batch at hand and stops. Everything committed stays, and it can go on later from there.",
    yes: "Pause",
  }),
  resume: (number) => ({
    title: `Resume session ${number}?`,
    text: "It goes on where it stopped. No row is written twice.",
    yes: "Resume",
  }),
  cancel: (number) => ({
    title: `Cancel session ${number}?`,
    text: "It finishes the batch at hand and ends. Everything committed stays; the rest is found again by the next migration. This session cannot go on.",
    yes: "Cancel the session",
    isDangerous: true,
  }),
};

function control(deed) {
  const { session } = known;
  if (byId(deed).disabled) return;
  dialogs.confirm(QUESTIONS[deed](session.number), async () => {
    await client.post(`${API}/${deed}/${session.sessionId}`, undefined, deed === "resume" ? { within: WORK_WITHIN_MS } : {});
    refreshSession();
  });
}

function start() {
  if (byId("start").disabled) return;
  // Sent again from the same dialog, it is the same wish.
  const key = crypto.randomUUID();
  dialogs.start(async (entities) => {
    const begun = await client.post(`${API}/execute`, entities.length > 0 ? { entities } : {}, { within: WORK_WITHIN_MS, key });
    await readSessions();
    choose(begun.sessionId);
  });
}

connection.onchange = () => {
  if (connection.isUp) follow();
  else following?.abort();
  showButtons();
};
for (const deed of ["pause", "resume", "cancel"]) byId(deed).addEventListener("click", () => control(deed));
byId("start").addEventListener("click", start);
byId("older").addEventListener("click", readOlder);
byId("help").addEventListener("click", dialogs.help);
// Browsers allow few connections to a server: pages in the background do without their stream.
document.addEventListener("visibilitychange", () => follow());
listen({
  p: () => control("pause"),
  r: () => control("resume"),
  c: () => control("cancel"),
  s: start,
  j: () => step(1),
  k: () => step(-1),
  "/": () => byId("log-text").focus(),
  "?": dialogs.help,
});
connection.tryNow();
