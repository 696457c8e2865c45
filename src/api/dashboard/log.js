// The execution log: every event once and in order, over however many connections.

import { announce, byId, element, setText } from "./dom.js";
import { count, plural, timeOfDay } from "./format.js";

const LEVELS = ["debug", "info", "warn", "error"];
// More would make the page slow; `diffmig logs` has all of them.
const MOST_LINES = 2_000;
/** How many of the latest lines are asked for at first. */
export const LINES_AT_FIRST = 500;

export class Log {
  constructor() {
    this.place = byId("log");
    this.latest = byId("log-latest");
    this.clear();
    for (const id of ["log-level", "log-entity", "log-text"]) byId(id).addEventListener("input", () => this.#filter());
    this.place.addEventListener("scroll", () => this.#scrolled());
    this.latest.addEventListener("click", () => this.#toEnd());
  }

  /** Forgets everything: another session was chosen. */
  clear() {
    this.events = new Map();
    this.lastId = null;
    this.forgottenTo = 0;
    this.dropped = 0;
    this.pending = [];
    this.atEnd = true;
    this.place.replaceChildren();
    this.#entities(new Set());
    this.#note();
  }

  /** Takes an event, whether it was seen before or not. */
  add(event) {
    const id = Number(event.eventId);
    if (this.events.has(id) || id <= this.forgottenTo) return;
    this.events.set(id, event);
    this.lastId = Math.max(this.lastId ?? 0, id);
    this.pending.push({ id, event });
    // Bursts of a quick migration become one change of the page.
    this.frame ??= requestAnimationFrame(() => this.#flush());
  }

  #flush() {
    this.frame = null;
    const added = this.pending.sort((one, other) => one.id - other.id);
    this.pending = [];
    for (const { id, event } of added) {
      const line = this.#line(id, event);
      let before = this.place.lastElementChild;
      while (before && Number(before.dataset.id) > id) before = before.previousElementSibling;
      if (before) before.after(line);
      else this.place.prepend(line);
    }
    this.#forget();
    this.#entities(new Set([...this.events.values()].map((event) => event.entity).filter(Boolean)));
    this.#note();
    const grave = added.filter(({ event }) => event.level === "error");
    if (grave.length > 0) announce(`Log: ${grave[grave.length - 1].event.message}`);
    if (this.atEnd) this.#toEnd();
    else this.latest.hidden = false;
  }

  #forget() {
    while (this.place.childElementCount > MOST_LINES) {
      const oldest = this.place.firstElementChild;
      this.forgottenTo = Number(oldest.dataset.id);
      this.events.delete(this.forgottenTo);
      oldest.remove();
      this.dropped += 1;
    }
  }

  #line(id, event) {
    const at = new Date(event.at);
    const line = element(
      "div",
      { class: "event", "data-id": id, "data-level": event.level },
      element("time", { datetime: event.at, title: at.toLocaleString() }, timeOfDay(at)),
      element("span", { class: "level" }, event.level),
      element("span", { class: "entity" }, event.entity ?? ""),
      element("span", { class: "message" }, event.message),
    );
    line.hidden = !this.#shows(event);
    return line;
  }

  #shows(event) {
    const text = byId("log-text").value.trim().toLowerCase();
    const entity = byId("log-entity").value;
    const told = `${event.entity ?? ""} ${event.operation} ${event.message}`.toLowerCase();
    return (
      LEVELS.indexOf(event.level) >= LEVELS.indexOf(byId("log-level").value) &&
      (entity === "" || event.entity === entity) &&
      told.includes(text)
    );
  }

  #filter() {
    for (const line of this.place.children) line.hidden = !this.#shows(this.events.get(Number(line.dataset.id)));
    this.#note();
    this.#toEnd();
  }

  #entities(names) {
    const select = byId("log-entity");
    const chosen = select.value;
    const wanted = [...names].sort();
    const known = [...select.options].slice(1).map((option) => option.value);
    if (wanted.join("\n") === known.join("\n")) return;
    select.replaceChildren(select.options[0], ...wanted.map((name) => element("option", { value: name }, name)));
    select.value = wanted.includes(chosen) ? chosen : "";
  }

  #note() {
    const all = this.events.size;
    const shown = [...this.place.children].filter((line) => !line.hidden).length;
    const older = this.dropped > 0 || all >= LINES_AT_FIRST ? ", older ones with diffmig logs" : "";
    setText(byId("log-note"), shown === all ? `${plural(all, "line")}${older}` : `${count(shown)} of ${plural(all, "line")}${older}`);
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.place;
    this.atEnd = scrollHeight - scrollTop - clientHeight < 24;
    if (this.atEnd) this.latest.hidden = true;
  }

  #toEnd() {
    this.place.scrollTop = this.place.scrollHeight;
    this.atEnd = true;
    this.latest.hidden = true;
  }
}
