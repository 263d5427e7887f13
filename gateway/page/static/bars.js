// A bar chart: a name, a bar and a number per row. Screen readers get a list.

import { el } from "/page/dom.js";

/** Rows of {label, value, text, kind?}; `max`: the value of a full bar. */
export function bars(rows, { max = null, name }) {
  const full = max ?? Math.max(...rows.map((row) => row.value), 0);
  return el(
    "ul",
    { class: "bars", "aria-label": name },
    rows.map((row) => bar(row, full)),
  );
}

function bar(row, full) {
  const width = full > 0 ? Math.max(0, Math.min(1, row.value / full)) : 0;
  return el(
    "li",
    { class: row.kind ?? null },
    el("span", { class: "name", title: row.label }, row.label),
    el(
      "span",
      { class: "groove", "aria-hidden": "true" },
      el("span", { class: "fill", style: { width: `${width * 100}%` } }),
    ),
    el("span", { class: "value" }, row.text),
  );
}
