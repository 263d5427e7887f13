// The cards of the tab Live below its plots: latencies, labels, failures, releases, sessions.

import { bars } from "/page/bars.js";
import { el, liveCard } from "/page/dom.js";
import { count, duration, titled } from "/page/format.js";
import { reason } from "/page/reasons.js";
import { releaseList, sessionTable } from "/page/running.js";

const MAX_BARS = 10;
const STAGES = [
  ["total", "Kafka to committed"],
  ["fetch", "Fetch"],
  ["photos", "Photos"],
  ["queued", "Queued"],
  ["embed", "Embed"],
  ["predict", "Predict"],
];

/** The cards below the plots; the card of a task's labels is added when the task appears. */
export function cardsBelow(body) {
  const stages = liveCard("Latency by stage", "p50 · p99");
  const failures = liveCard(
    "Failures by reason",
    el("a", { href: "#/ads?list=failures" }, "Show them"),
  );
  const sessions = liveCard("Sessions", "who reads what");
  const releases = liveCard("Releases");
  const tasks = new Map();
  sessions.node.classList.add("whole");
  body.append(stages.node, failures.node, releases.node, sessions.node);
  const draw = (statistics) => {
    const { latencies, waited_for_session: waited } = statistics;
    stages.update({ latencies, waited }, stageBars);
    failures.update(statistics.failures, failureBars);
    const { sessions: running, lag } = statistics;
    sessions.update({ sessions: running, lag }, sessionTable);
    releases.update(statistics.releases, releaseList);
    for (const [task, counts] of Object.entries(statistics.labels)) {
      const title = task === "category" ? "Categories" : titled(task);
      if (!tasks.has(task)) {
        tasks.set(task, liveCard(title, "ads in this period"));
        failures.node.before(tasks.get(task).node);
      }
      tasks.get(task).update(counts, (now) => labelBars(now, title));
    }
    // Cards stand in pairs: without a partner, the last one takes the whole row.
    releases.node.classList.toggle("whole", tasks.size % 2 === 0);
  };
  return { draw };
}

export const legend = () =>
  [
    ["deploy", "code version"],
    ["release", "promotion"],
    ["trouble", "outage, incident"],
  ].map(([kind, text]) => [
    el("span", { class: `sign ${kind}`, "aria-hidden": "true" }),
    el("span", { class: "sign-name" }, text),
  ]);

function stageBars({ latencies, waited }) {
  const rows = STAGES.filter(([name]) => name in latencies).map(([name, title]) => {
    const one = latencies[name];
    return {
      label: title,
      value: one.p50_ms,
      text: `${duration(one.p50_ms)} · ${duration(one.p99_ms)}`,
    };
  });
  const drawn = rows.length ? bars(rows, { name: "Latency by stage" }) : nothing();
  if (!waited) return drawn;
  const ads = waited.ads === 1 ? "1 ad" : `${count(waited.ads)} ads`;
  const note = `Without ${ads} that waited for a session to start (p99 ${duration(waited.p99_ms)}).`;
  return el("div", {}, drawn, el("p", { class: "hint" }, note));
}

/** The live release's most frequent labels. */
function labelBars(counts, title) {
  const rows = Object.entries(counts)
    .slice(0, MAX_BARS)
    .map(([label, value]) => ({ label, value, text: count(value) }));
  return rows.length ? bars(rows, { name: title }) : nothing();
}

function failureBars(counts) {
  const rows = Object.entries(counts)
    .slice(0, MAX_BARS)
    .map(([code, value]) => ({ label: reason(code).what, value, text: count(value), kind: "bad" }));
  return rows.length
    ? bars(rows, { name: "Failures by reason" })
    : el("p", { class: "hint" }, "None in this period.");
}

const nothing = () => el("p", { class: "hint" }, "No data in this period.");
