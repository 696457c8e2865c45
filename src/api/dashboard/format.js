// Numbers, durations and times for people.

const wholeNumber = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

/** A whole number with thousands separators. */
export const count = (value) => wholeNumber.format(value);

/** Rows per second; small rates keep a digit. */
export const rate = (value) => (value > 0 && value < 10 ? value.toFixed(1) : wholeNumber.format(value));

/** A share in percent that is 100 only when everything is done, and 0 only when nothing is. */
export function percent(done, total) {
  if (total <= 0) return 100;
  const share = Math.min(1, done / total) * 100;
  if (done < total && share > 99) return 99;
  if (done > 0 && share < 1) return 1;
  return Math.floor(share);
}

/** Seconds as "42 s", "3 min 05 s" or "2 h 10 min". */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const two = (value) => String(value).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 48 * 3600) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86400)} days`;
}

/** Plain words for how long ago a moment was. */
export function ago(date, now = new Date()) {
  const seconds = (now - date) / 1000;
  if (seconds < 5) return "just now";
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

/** The time of day, with the date unless it is today. */
export function moment(date, now = new Date()) {
  const time = clock.format(date);
  return date.toDateString() === now.toDateString() ? time : `${day.format(date)}, ${time}`;
}

/** The time of day to the second. */
export const timeOfDay = (date) => clock.format(date);

/** A word of the control tables for people: `completed_with_rejects` becomes "completed with rejects". */
export const words = (word) => word.replaceAll("_", " ");

/** "1 row", "2 rows". */
export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;
