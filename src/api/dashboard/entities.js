// The entities of a session, wave by wave.

import { byId, element, reconcile, setAttribute, setText } from "./dom.js";
import { count, duration, percent, plural, rate, words } from "./format.js";
import { showBar } from "./session.js";

const COLUMNS = [
  ["Entity", "name"],
  ["Progress", "progress"],
  ["Rows", "rows number"],
  ["Rows/s", "rate number"],
  ["To go", "eta number"],
  ["Inserted", "inserted number wide"],
  ["Updated", "updated number wide"],
  ["Retired", "retired number wide"],
  ["Set aside", "aside number"],
];

function makeTable() {
  const head = element("tr", { role: "row" }, ...COLUMNS.map(([title, names]) => element("th", { scope: "col", role: "columnheader", class: names }, title)));
  return element("table", { class: "entities", role: "table", "aria-labelledby": "entities-title" }, element("thead", { role: "rowgroup", "data-key": "head" }, head));
}

function makeWave(wave) {
  const title = element("th", { scope: "rowgroup", role: "rowheader", colspan: COLUMNS.length }, `Wave ${wave.number}`);
  return element("tbody", { role: "rowgroup" }, element("tr", { class: "wave", role: "row", "data-key": "wave" }, title));
}

function makeRow(step) {
  const row = element("tr", { role: "row" });
  for (const [, names] of COLUMNS) {
    const cell = names === "name" ? element("th", { scope: "row", role: "rowheader" }) : element("td", { role: "cell" });
    cell.className = names;
    row.append(cell);
  }
  const [name, progress] = row.children;
  name.title = step.entity;
  name.append(element("span", { class: "dot" }), step.entity, element("span", { class: "unseen state" }));
  progress.append(
    element(
      "div",
      { class: "share" },
      element(
        "div",
        { class: "bar", role: "progressbar", "aria-label": step.entity, "aria-valuemin": 0, "aria-valuemax": 100 },
        element("span", { class: "done" }),
      ),
      element("span", { class: "percent", "aria-hidden": "true" }),
    ),
  );
  return row;
}

/** Seconds that are left at the step's own rate. */
function toGo(step) {
  if (step.state !== "running" || step.rowsPerSec <= 0 || step.rowsDone >= step.rowsTotal) return null;
  return (step.rowsTotal - step.rowsDone) / step.rowsPerSec;
}

// Zeros would hide what is there.
const orDash = (value, format) => (value ? format(value) : "–");

function updateRow(row, step) {
  setAttribute(row, "data-state", step.state);
  setText(row.querySelector(".state"), `, ${words(step.state)}`);
  setAttribute(row.querySelector(".dot"), "title", words(step.state));
  showBar(row.querySelector(".bar"), step.rowsDone, step.rowsTotal, step.state);
  const cell = (name, text) => {
    const place = row.querySelector(`.${name}`);
    setText(place, text);
    setAttribute(place, "data-none", text === "–");
  };
  // A bar that is full because there is nothing to do would look like work.
  const isIdle = step.rowsTotal === 0;
  setAttribute(row.querySelector(".share"), "data-idle", isIdle);
  setText(row.querySelector(".percent"), isIdle ? "–" : `${percent(step.rowsDone, step.rowsTotal)} %`);
  cell("rows", step.rowsDone === step.rowsTotal ? count(step.rowsTotal) : `${count(step.rowsDone)} / ${count(step.rowsTotal)}`);
  cell("rate", orDash(step.rowsDone && step.rowsPerSec, rate));
  cell("eta", orDash(toGo(step), duration));
  cell("inserted", orDash(step.inserted, count));
  cell("updated", orDash(step.updated, count));
  cell("retired", orDash(step.retired, count));
  cell("aside", orDash(step.setAside, count));
  setAttribute(row.querySelector(".aside"), "data-tone", step.setAside > 0 ? "warn" : null);
}

/** Shows the steps of a session. */
export function showEntities(steps) {
  const place = byId("entities");
  if (!place.firstElementChild) place.append(makeTable());
  const waves = new Map();
  for (const step of steps) waves.set(step.wave, [...(waves.get(step.wave) ?? []), step]);
  const list = [...waves].map(([number, members]) => ({ number, members }));
  const bodies = place.firstElementChild;
  reconcile(
    bodies,
    [{ number: "head" }, ...list],
    (wave) => wave.number,
    makeWave,
    (body, wave) => {
      if (!wave.members) return;
      reconcile(body, ["wave", ...wave.members], (step) => step.entity ?? step, makeRow, (row, step) => {
        if (step.entity) updateRow(row, step);
      });
    },
  );
  const done = steps.filter((step) => step.state === "completed").length;
  setText(byId("entities-note"), `${count(done)} of ${plural(steps.length, "entity", "entities")} done in ${plural(list.length, "wave")}`);
}
