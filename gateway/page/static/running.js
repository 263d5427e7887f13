// The running sessions, and the progress of the releases.

import { el, link } from "/page/dom.js";
import { count, moment, plural, share, shortId, span } from "/page/format.js";

export function sessionTable(sessions) {
  const head = ["Run", "State", "Since", "Partitions"].map((text, index) =>
    el("th", { scope: "col", class: index === 3 ? "num" : null }, text),
  );
  const rows = sessions.map((one) =>
    el(
      "tr",
      {},
      el("td", {}, link(shortId(one.run.id), one.run.url, { class: "mono", title: one.run.id })),
      el(
        "td",
        {},
        el("span", { class: `chip ${one.state === "ready" ? "good" : "busy"}` }, one.state),
      ),
      el("td", { title: `next session takes over: ${moment(one.due_at)}` }, moment(one.started_at)),
      el("td", { class: "num" }, one.partitions ? count(one.partitions) : "standby"),
    ),
  );
  const none = el(
    "p",
    { class: "hint" },
    "No session is running, so nothing is scored. Check that Dagster's sensor new_ads is on: it starts sessions.",
  );
  return rows.length
    ? el("table", { class: "plain" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows))
    : none;
}

export function releaseList(releases) {
  const none = el(
    "p",
    { class: "hint" },
    "There is no live release, so nothing is scored. See lalafo releases.",
  );
  return releases.length ? releases.map(release) : none;
}

function release(one) {
  const done = one.days - one.days_unscored;
  const part = one.days > 0 ? done / one.days : 1;
  return el(
    "div",
    { class: "release" },
    el(
      "p",
      {},
      link(shortId(one.release.id, 44), one.release.url, { class: "mono", title: one.release.id }),
      el("span", { class: `chip ${one.role === "live" ? "good" : ""}` }, one.role),
    ),
    el(
      "div",
      {
        class: "progress",
        role: "progressbar",
        "aria-label": `Days scored by ${one.release.id}`,
        "aria-valuemin": 0,
        "aria-valuemax": 100,
        "aria-valuenow": Math.floor(part * 100),
      },
      el("span", { style: { width: `${part * 100}%` } }),
    ),
    el(
      "p",
      { class: "hint" },
      el("span", {}, days(one, done, part)),
      el("span", {}, rescored(one.rescore)),
    ),
  );
}

function days(one, done, part) {
  if (one.days === 0) return "No earlier ads to score.";
  return `${count(done)} of ${plural(one.days, "day")} of earlier ads, ${share(part)}`;
}

function rescored(rescore) {
  if (rescore === null || rescore.state === "done" || rescore.state === "cancelled") return "";
  if (rescore.state === "waiting") return "re-score waiting";
  return rescore.remaining_s === null ? "re-score running" : `${span(rescore.remaining_s)} left`;
}
