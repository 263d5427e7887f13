// The running sessions, and the progress of the releases.

import { el, link } from "/page/dom.js";
import { count, plural, share, shortId, span } from "/page/format.js";
import { when } from "/page/times.js";

/** `lag`: of the statistics; null while Kafka is unavailable. */
export function sessionTable({ sessions, lag }) {
  if (!sessions.length)
    return el(
      "p",
      { class: "hint" },
      "No session is running, so nothing is scored. Dagster's sensor new_ads starts them: see that it is on, and whether the gateway is ",
      el("a", { href: "/readyz" }, "ready"),
      ".",
    );
  const waiting = Object.fromEntries(
    (lag?.partitions ?? []).map((one) => [one.partition, one.lag]),
  );
  const heads = ["Run", "State", "Reads partitions", "Since", "Hands over", "Code"];
  return el(
    "table",
    { class: "plain sessions" },
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        heads.map((text) => el("th", { scope: "col" }, text)),
      ),
    ),
    el(
      "tbody",
      {},
      sessions.map((one) => sessionRow(one, waiting, heads)),
    ),
  );
}

function sessionRow(one, waiting, heads) {
  const cells = [
    link(shortId(one.run.id), one.run.url, { class: "mono", title: one.run.id }),
    el("span", { class: `chip ${one.state === "ready" ? "good" : "busy"}` }, one.state),
    reads(one, waiting),
    when(one.started_at),
    when(one.due_at),
    el("span", { class: "mono", title: one.code_version }, shortId(one.code_version, 9)),
  ];
  return el(
    "tr",
    {},
    cells.map((cell, at) => el("td", { "data-head": heads[at] }, cell)),
  );
}

function reads(one, waiting) {
  if (!one.partitions) return "none: it stands by";
  const behind = one.reads.reduce((sum, partition) => sum + (waiting[partition] ?? 0), 0);
  return `${ranges(one.reads)}${behind ? `, ${plural(behind, "event")} behind` : ""}`;
}

/** Numbers as ranges: 0–3, 5. */
function ranges(numbers) {
  const found = [];
  for (const number of numbers) {
    const last = found.at(-1);
    if (last && number === last[1] + 1) last[1] = number;
    else found.push([number, number]);
  }
  return found.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(", ");
}

export function releaseList(releases) {
  const none = el(
    "p",
    { class: "hint" },
    "No release is live, so nothing is scored: ",
    el("code", {}, "lalafo releases install starter"),
    " installs the one that ships with the package.",
  );
  return releases.length ? releases.map(release) : none;
}

const ROLES = {
  live: "readers get its predictions",
  candidate: "scored beside the live one; promote it when every day is done",
  previous: "was live before; a rollback switches to it",
  announced: "sessions load it",
};

function release(one) {
  const done = one.days - one.days_unscored;
  return el(
    "div",
    { class: "release" },
    el(
      "p",
      {},
      link(shortId(one.release.id, 44), one.release.url, { class: "mono", title: one.release.id }),
      el("span", { class: `chip ${one.role === "live" ? "good" : ""}` }, one.role),
    ),
    el("p", { class: "hint" }, ROLES[one.role] ?? ""),
    one.days_unscored > 0 && bar(`Days scored by ${one.release.id}`, done / one.days),
    el(
      "p",
      { class: "hint" },
      el("span", {}, days(one, done)),
      el("span", {}, rescored(one.rescore)),
    ),
  );
}

function bar(name, part) {
  return el(
    "div",
    {
      class: "progress",
      role: "progressbar",
      "aria-label": name,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": Math.floor(part * 100),
    },
    el("span", { style: { width: `${part * 100}%` } }),
  );
}

function days(one, done) {
  if (one.days === 0) return "Every ad since it became active is scored.";
  if (one.days_unscored === 0) return `All ${plural(one.days, "day")} of earlier ads are scored.`;
  return `${count(done)} of ${plural(one.days, "day")} of earlier ads scored, ${share(done / one.days)}`;
}

function rescored(rescore) {
  if (rescore === null || rescore.state === "done") return "";
  if (rescore.state === "cancelled") return "its re-score was cancelled";
  if (rescore.state === "waiting") return "re-score waits for its time";
  return rescore.remaining_s === null
    ? "re-score running"
    : `re-score running, ${span(rescore.remaining_s)} left`;
}
