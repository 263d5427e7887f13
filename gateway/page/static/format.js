// Formats numbers and times: fixed decimals, units, the browser's time zone.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export function count(value) {
  return value === null || value === undefined ? "–" : whole.format(value);
}

export function number(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) >= 100 ? whole.format(value) : short.format(value);
}

/** Milliseconds: 3.2 ms, 412 ms, 1.24 s, 3 min 20 s. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms === 0) return "0 ms";
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${ms.toFixed(0)} ms`;
  if (ms < 99_950) return `${(ms / 1000).toFixed(ms < 9_995 ? 2 : 1)} s`;
  return span(ms / 1000);
}

/** Seconds as a duration of up to days. */
export function span(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds < 86_400)
    return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.round((seconds % 86_400) / 3600)} h`;
}

/** A fraction as a percentage: 93.4 %. */
export function share(value) {
  if (value === null || value === undefined) return "–";
  if (value > 0 && value < 0.0005) return "<0.1 %";
  return `${(value * 100).toFixed(1)} %`;
}

export function bytes(value) {
  if (value < 1000) return `${value} B`;
  if (value < 1_000_000) return `${Math.round(value / 1000)} kB`;
  return `${(value / 1_000_000).toFixed(1)} MB`;
}

const two = (value) => String(value).padStart(2, "0");

export function clock(moment, seconds = true) {
  const at = new Date(moment);
  const hours = `${two(at.getHours())}:${two(at.getMinutes())}`;
  return seconds ? `${hours}:${two(at.getSeconds())}` : hours;
}

/** A time of today without its date, any other with it. */
export function moment(text) {
  const at = new Date(text);
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const now = new Date();
  return at.toDateString() === now.toDateString() ? clock(at) : `${day} ${clock(at, false)}`;
}

/** The start of the id of a release or run. */
export function shortId(id, maxChars = 13) {
  return id.length > maxChars ? `${id.slice(0, maxChars - 1)}…` : id;
}

export function plural(many, one, more = `${one}s`) {
  return `${count(many)} ${many === 1 ? one : more}`;
}

/** A name of the API as a title: find_similar becomes Find similar. */
export function titled(name) {
  return (name.charAt(0).toUpperCase() + name.slice(1)).replaceAll("_", " ");
}
