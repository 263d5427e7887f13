// Times: shown in the browser's zone, with UTC in the title. Bounds of the local days of a filter.

import { el } from "/page/dom.js";

const two = (value) => String(value).padStart(2, "0");
const iso = (at) => `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
const hours = (at) => `${two(at.getHours())}:${two(at.getMinutes())}`;

/** A <time> with the date and the time to the minute; its title has both zones. */
export function when(text, attributes = {}) {
  const at = new Date(text);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "local time";
  const utc = at.toISOString().replace("T", " ").slice(0, 19);
  const local = `${iso(at)} ${hours(at)}:${two(at.getSeconds())}`;
  return el(
    "time",
    { datetime: at.toISOString(), title: `${local} (${zone}), ${utc} UTC`, ...attributes },
    `${iso(at)} ${hours(at)}`,
  );
}

/** The local day of a number of days before today, such as 2026-05-01. */
export function localDay(before = 0) {
  const at = new Date();
  at.setDate(at.getDate() - before);
  return iso(at);
}

/** The start of a local day as the API reads it; `after`: of the day after it. Empty: none. */
export function startOf(day, after = 0) {
  const [year, month, date] = (day ?? "").split("-").map(Number);
  if (!year || !month || !date) return "";
  return new Date(year, month - 1, date + after).toISOString();
}
