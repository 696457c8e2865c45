// The REST API over fetch. The token travels in a header only, never in an address.

const TOKEN = "diffmig.token";
const ANSWER_WITHIN_MS = 15_000;
/** How long the server may take to open both databases and begin a session. */
export const WORK_WITHIN_MS = 900_000;
// The server sends a comment every few seconds; a stream that is silent for longer is dead.
const STREAM_SILENT_MS = 45_000;

/** The server did not answer, or not as itself. */
export class Unreachable extends Error {}

/** The server answered with an error. */
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

// Keys may be larger than what a number of JavaScript can hold; then they stay text.
const keepLargeNumbers = (_, value, context) =>
  Number.isInteger(value) && !Number.isSafeInteger(value) && context?.source ? context.source : value;

/** The events in a block of a stream. */
export function* eventsIn(block) {
  const event = { id: null, type: "message", data: [] };
  for (const line of block.split("\n")) {
    if (line === "" || line.startsWith(":")) continue;
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "id") event.id = value;
    else if (field === "event") event.type = value;
    else if (field === "data") event.data.push(value);
  }
  if (event.data.length > 0) yield { ...event, data: event.data.join("\n") };
}

export class Client {
  /** `askForToken(wasWrong)` resolves to a token, or to null when nobody gives one. */
  constructor(askForToken) {
    this.askForToken = askForToken;
    this.asking = null;
    this.clockOffset = 0;
  }

  /** The time of the server in milliseconds, to a second: the clock of this computer may be wrong. */
  now() {
    return Date.now() + this.clockOffset;
  }

  get(path) {
    return this.#json("GET", path);
  }

  /** `key` makes sure that the same wish, sent twice, is done once. */
  post(path, body, { within, key } = {}) {
    return this.#json("POST", path, body, within, key ? { "Idempotency-Key": key } : {});
  }

  /** Follows a stream; `signal` ends it. Yields what arrives, and ends when the server ends it. */
  async *stream(path, lastEventId, signal) {
    const silence = new AbortController();
    const headers = { Accept: "text/event-stream" };
    if (lastEventId !== null) headers["Last-Event-ID"] = String(lastEventId);
    const answer = await this.#send(path, { headers, signal: AbortSignal.any([signal, silence.signal]) });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    let timer;
    try {
      for (;;) {
        timer = setTimeout(() => silence.abort(), STREAM_SILENT_MS);
        const { value, done } = await reader.read();
        clearTimeout(timer);
        if (done) return;
        const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) yield* eventsIn(block);
      }
    } catch (error) {
      throw signal.aborted ? error : new Unreachable(error.message);
    } finally {
      clearTimeout(timer);
      reader.cancel().catch(() => {});
    }
  }

  async #json(method, path, body, within = ANSWER_WITHIN_MS, more = {}) {
    const options = { method, headers: { Accept: "application/json", ...more }, signal: AbortSignal.timeout(within) };
    if (body !== undefined) {
      options.headers["Content-Type"] = "application/json";
      options.body = JSON.stringify(body);
    }
    const answer = await this.#send(path, options);
    try {
      return JSON.parse(await answer.text(), keepLargeNumbers);
    } catch {
      throw new Unreachable("the answer of the server broke off");
    }
  }

  async #send(path, options) {
    for (;;) {
      const token = sessionStorage.getItem(TOKEN);
      const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
      let answer;
      try {
        answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
      } catch (error) {
        if (options.signal?.aborted && error.name === "AbortError") throw error;
        throw new Unreachable("no answer");
      }
      const date = Date.parse(answer.headers.get("Date"));
      if (!Number.isNaN(date)) this.clockOffset = date - Date.now();
      if (answer.ok) return answer;
      if (answer.status !== 401) throw await refusal(answer);
      // Another request may have brought a token in the meantime.
      if (sessionStorage.getItem(TOKEN) === token && !(await this.#newToken(token !== null))) {
        throw await refusal(answer);
      }
    }
  }

  /** Asks once, however many requests were turned away. */
  async #newToken(wasWrong) {
    this.asking ??= this.askForToken(wasWrong).finally(() => {
      this.asking = null;
    });
    const token = await this.asking;
    if (token === null) return false;
    sessionStorage.setItem(TOKEN, token);
    return true;
  }
}

async function refusal(answer) {
  try {
    const { error } = await answer.json();
    const next = error.details?.next ? ` (${error.details.next})` : "";
    return new Refused(answer.status, error.code, error.message + next);
  } catch {
    return new Refused(answer.status, "unknown", `the server answered with status ${answer.status}`);
  }
}
