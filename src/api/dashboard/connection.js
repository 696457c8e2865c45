// Whether the server can be reached, and how to get it back: one place decides, everything else waits for it.

import { Refused, Unreachable } from "./client.js";
import { announce, byId, setAttribute, setText } from "./dom.js";
import { duration, timeOfDay } from "./format.js";

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 15_000;

/** Tells whether a request was only given up by the page itself. */
const isOurs = (error) => error.name === "AbortError";

/** Tells whether nothing at all can be had from the server at present. */
const isGrave = (error) =>
  error instanceof Unreachable || (error instanceof Refused && (error.status >= 500 || [401, 403].includes(error.status)));

export class Connection {
  /** `probe` asks the server for something that every working server has. */
  constructor(probe) {
    this.probe = probe;
    this.state = "connecting";
    this.lastAnswer = null;
    this.fault = null;
    this.wait = FIRST_WAIT_MS;
    this.tasks = [];
    byId("banner-retry").addEventListener("click", () => this.tryNow());
    addEventListener("online", () => this.tryNow());
    setInterval(() => this.#show(), 1_000);
  }

  get isUp() {
    return this.state === "live";
  }

  /** Does `task` again and again while the server is there; returns a function that does it at once. */
  repeat(task, milliseconds) {
    let timer;
    let busy = false;
    let again = false;
    const run = async () => {
      clearTimeout(timer);
      if (!this.isUp) return;
      if (busy) {
        again = true;
        return;
      }
      busy = true;
      try {
        await task();
        this.lastAnswer = new Date();
      } catch (error) {
        this.report(error);
      }
      busy = false;
      timer = setTimeout(run, again ? 0 : milliseconds());
      again = false;
    };
    this.tasks.push(run);
    return run;
  }

  /** Takes note of an error. Only a server that is away or ill changes the state. */
  report(error) {
    if (isOurs(error)) return;
    if (this.isUp && !isGrave(error)) {
      console.warn(error);
      return;
    }
    this.fault = error;
    if (this.state === "lost") return;
    this.state = "lost";
    this.lostAt = new Date();
    this.wait = FIRST_WAIT_MS;
    document.body.dataset.connection = "lost";
    this.onchange();
    announce("The connection to the server is lost.");
    this.#later();
    this.#show();
  }

  /** Begins, or asks at once instead of waiting any longer. */
  async tryNow() {
    if (this.isUp || this.trying) return;
    clearTimeout(this.timer);
    this.trying = true;
    this.nextTry = null;
    this.#show();
    try {
      await this.probe();
      this.#live();
    } catch (error) {
      if (this.state === "connecting") this.report(error);
      else {
        this.fault = error;
        this.#later();
      }
    }
    this.trying = false;
    this.#show();
  }

  #live() {
    const wasLost = this.state === "lost";
    this.state = "live";
    this.fault = null;
    this.lastAnswer = new Date();
    document.body.dataset.connection = "live";
    this.onchange();
    if (wasLost) announce("The server is back.");
    for (const run of this.tasks) run();
  }

  #later() {
    // Nothing but a token helps against a missing token.
    if (this.fault instanceof Refused && this.fault.status === 401) {
      this.nextTry = null;
      return;
    }
    // Many open pages should not all come back in the same instant.
    const wait = this.wait * (0.8 + 0.4 * Math.random());
    this.nextTry = Date.now() + wait;
    this.timer = setTimeout(() => this.tryNow(), wait);
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
  }

  #show() {
    const isLost = this.state === "lost";
    const status = this.fault instanceof Refused ? this.fault.status : 0;
    const [word, title] = !isLost
      ? [this.state, ""]
      : status === 401
        ? ["no access", "This server wants a token."]
        : status > 0
          ? ["trouble", "The server cannot do its work."]
          : ["no connection", "The server does not answer."];
    setAttribute(byId("link"), "data-state", this.state);
    setText(byId("link-text"), word);
    byId("banner").hidden = !isLost;
    if (!isLost) return;
    setText(byId("banner-title"), title);
    setText(byId("banner-text"), this.#story());
    const left = this.nextTry ? Math.max(1, Math.ceil((this.nextTry - Date.now()) / 1000)) : null;
    const away = `away for ${duration((Date.now() - this.lostAt) / 1000)}`;
    setText(byId("banner-next"), this.trying ? `${away}, trying…` : left ? `${away}, next try in ${duration(left)}` : "");
    setText(byId("banner-retry"), status === 401 ? "Enter token" : "Try now");
  }

  /** The part of the banner that is read out: it changes once, not every second. */
  #story() {
    const last = this.lastAnswer;
    const said = this.fault instanceof Refused && this.fault.status !== 401 ? `It says: ${this.fault.message}. ` : "";
    if (!last) return said;
    return `${said}What you see is from ${timeOfDay(last)}.`;
  }
}
