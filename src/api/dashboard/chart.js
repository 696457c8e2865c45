// Rows per second over time, as an SVG of the size of its place.

import { byId, element, setText } from "./dom.js";
import { rate, timeOfDay } from "./format.js";

const LEAST_HEIGHT = 140;
const MOST_POINTS = 120;
// Between two batches nothing is committed, and that means nothing.
const SILENT_MS = 5_000;
const LEFT = 52;
const TOP = 10;
const BOTTOM = 22;
const NAMESPACE = "http://www.w3.org/2000/svg";

function shape(tag, attributes, text) {
  const made = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
}

/** The next number that is easy to read. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value);
}

/**
 * Makes rates of a history: rows per second between times that are at least a second apart, and few enough to be
 * told apart. `now` is given while the session runs, so that the curve falls when nothing is committed any more.
 */
export function ratesOf(history, now) {
  const times = history.times.map(Date.parse);
  if (times.length === 0) return [];
  const done = times.map((_, at) => history.entities.reduce((sum, it) => sum + it.rowsDone[at], 0));
  if (now - times[times.length - 1] > SILENT_MS) {
    times.push(now);
    done.push(done[done.length - 1]);
  }
  const window = Math.max(1_000, (times[times.length - 1] - times[0]) / MOST_POINTS);
  const points = [];
  let from = 0;
  for (let at = 1; at < times.length; at += 1) {
    const span = times[at] - times[from];
    // What is left at the end would be too short to say anything.
    if (span < window) continue;
    points.push({ at: times[at], rate: ((done[at] - done[from]) * 1000) / span });
    from = at;
  }
  return points;
}

export class Chart {
  constructor() {
    this.points = [];
    this.place = byId("chart");
    this.place.addEventListener("pointermove", (event) => this.#point(event));
    this.place.addEventListener("pointerleave", () => this.#rest());
    new ResizeObserver(() => this.#resized()).observe(this.place);
  }

  /** Shows points of `{ at: milliseconds, rate }`, in order of time; `isLive` says that more will come. */
  show(points, isLive) {
    this.points = points;
    this.isLive = isLive;
    if (this.points.length < 2) {
      this.place.replaceChildren(element("p", { class: "empty" }, "Not enough batches for a curve yet."));
      setText(byId("chart-readout"), "");
      return;
    }
    this.#draw();
    this.#rest();
  }

  get #right() {
    return this.width - 4;
  }

  #resized() {
    const { clientWidth, clientHeight } = this.place;
    if (this.points.length >= 2 && (clientWidth !== this.width || clientHeight !== this.height)) this.#draw();
  }

  #x(at) {
    const first = this.points[0].at;
    const span = Math.max(1, this.points[this.points.length - 1].at - first);
    return LEFT + ((at - first) / span) * (this.#right - LEFT);
  }

  #y(value) {
    return TOP + (1 - value / this.top) * (this.height - TOP - BOTTOM);
  }

  #draw() {
    const { points } = this;
    this.width = Math.max(200, this.place.clientWidth);
    this.height = Math.max(LEAST_HEIGHT, this.place.clientHeight);
    this.top = roundUp(Math.max(...points.map((point) => point.rate)));
    const label = `Rows per second from ${timeOfDay(points[0].at)} to ${timeOfDay(points[points.length - 1].at)}, at most ${rate(this.top)}`;
    const picture = shape("svg", { viewBox: `0 0 ${this.width} ${this.height}`, width: this.width, height: this.height, role: "img", "aria-label": label });
    for (const share of [0, 0.5, 1]) {
      const y = this.#y(share * this.top);
      picture.append(shape("line", { x1: LEFT, x2: this.#right, y1: y, y2: y, class: "grid" }));
      picture.append(shape("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, rate(share * this.top)));
    }
    const corners = points.map((point) => `${this.#x(point.at).toFixed(1)},${this.#y(point.rate).toFixed(1)}`);
    const floor = this.#y(0);
    const last = this.#x(points[points.length - 1].at).toFixed(1);
    picture.append(shape("polygon", { points: `${LEFT},${floor} ${corners.join(" ")} ${last},${floor}`, class: "area" }));
    picture.append(shape("polyline", { points: corners.join(" "), class: "curve" }));
    picture.append(shape("text", { x: LEFT, y: this.height - 5 }, timeOfDay(points[0].at)));
    picture.append(shape("text", { x: this.#right, y: this.height - 5, "text-anchor": "end" }, timeOfDay(points[points.length - 1].at)));
    this.mark = shape("circle", { r: 3.5, class: "mark", visibility: "hidden" });
    picture.append(this.mark);
    this.place.replaceChildren(picture);
  }

  /** Reads out the point below the pointer. */
  #point(event) {
    if (this.points.length < 2) return;
    const box = this.place.getBoundingClientRect();
    const x = event.clientX - box.left;
    const distance = (point) => Math.abs(this.#x(point.at) - x);
    const nearest = this.points.reduce((best, point) => (distance(point) < distance(best) ? point : best));
    this.mark.setAttribute("cx", this.#x(nearest.at));
    this.mark.setAttribute("cy", this.#y(nearest.rate));
    this.mark.setAttribute("visibility", "visible");
    setText(byId("chart-readout"), `${timeOfDay(nearest.at)}: ${rate(nearest.rate)} rows/s`);
  }

  #rest() {
    this.mark?.setAttribute("visibility", "hidden");
    const last = this.points[this.points.length - 1];
    setText(byId("chart-readout"), last && this.isLive ? `now ${rate(last.rate)}` : "");
  }
}
