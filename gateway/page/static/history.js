// What changed or broke: the list below the plots, and the marks on them.

import { call } from "/page/api.js";
import { el, link } from "/page/dom.js";
import { shortId, span } from "/page/format.js";
import { when } from "/page/times.js";

const SHOWN = 12;
const KINDS = {
  promoted: "release",
  rolled_back: "release",
  code_version: "deploy",
  session_died: "trouble",
  outage: "trouble",
  incident: "trouble",
};

/** The changes of the last minutes, newest first. */
export async function readHistory(minutes, signal) {
  const { body } = await call("/v1/history", { query: { minutes }, signal });
  return body.changes;
}

/** The changes that are drawn on the plots: not every step of a release on its way. */
export function marksOf(changes) {
  return changes
    .filter(({ kind }) => kind in KINDS)
    .map((one) => ({
      at: new Date(one.at),
      until: one.kind === "outage" ? new Date(one.until ?? Date.now()) : null,
      kind: KINDS[one.kind],
      title: one.title,
    }));
}

export function historyList(changes) {
  if (!changes.length)
    return el(
      "p",
      { class: "hint" },
      "Nothing changed or broke in this period: no promotion, no new code version, no session that died, no incident.",
    );
  return [
    el("ol", { class: "history" }, changes.slice(0, SHOWN).map(row)),
    changes.length > SHOWN &&
      el("p", { class: "hint" }, `and ${changes.length - SHOWN} earlier ones: GET /v1/history`),
  ];
}

function row(one) {
  const kind = KINDS[one.kind] ?? "other";
  const lasted =
    one.kind === "outage" && (new Date(one.until ?? Date.now()) - new Date(one.at)) / 1000;
  return el(
    "li",
    {},
    el("span", { class: `sign ${kind}`, "aria-hidden": "true" }),
    when(one.at, { class: "hint" }),
    el(
      "span",
      { class: "what" },
      el("strong", {}, one.title),
      one.release && [" ", link(shortId(one.release.id, 40), one.release.url, { class: "mono" })],
      lasted !== false && ` for ${span(lasted)}${one.until ? "" : ", and still none runs"}`,
      one.detail && el("span", { class: "hint" }, ` ${one.detail}`),
      one.run && [" ", link(`run ${shortId(one.run.id)}`, one.run.url, { class: "mono" })],
    ),
  );
}
