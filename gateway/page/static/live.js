// The tab Live: what the statistics say, every two seconds while somebody can see it.

import { call } from "/page/api.js";
import { bars } from "/page/bars.js";
import { el, fill, livingCard } from "/page/dom.js";
import { count, duration, span, titled } from "/page/format.js";
import { labelsOf, sawLabels } from "/page/labels.js";
import { errorNotice } from "/page/notices.js";
import { LinePlot } from "/page/plots.js";
import { reason } from "/page/reasons.js";
import { releasesDrawn, sessionsDrawn } from "/page/running.js";

const EVERY_MS = 2000;
const SPANS = [
  [30, "30 minutes"],
  [60, "1 hour"],
  [360, "6 hours"],
  [1440, "24 hours"],
];
const MOST_BARS = 10;
const LATE_S = 10;
const STAGES = [
  ["total", "Kafka to committed"],
  ["fetch", "Fetch"],
  ["photos", "Photos"],
  ["queued", "Queued"],
  ["embed", "Embed"],
  ["predict", "Predict"],
];

export function liveView(panel) {
  const wanted = el(
    "select",
    { id: "span", "aria-label": "Time shown", onchange: () => look() },
    SPANS.map(([minutes, text]) =>
      el("option", { value: minutes, selected: minutes === 30 }, `Last ${text}`),
    ),
  );
  const told = el("span", { role: "status" }, "Reading");
  const state = el(
    "p",
    { class: "state" },
    el("span", { class: "dot-live", "aria-hidden": "true" }),
    told,
    wanted,
  );
  const trouble = el("div", {});
  const numbers = el("dl", { class: "figures whole" });
  const rate = new LinePlot("Ads and photos a minute", count, { area: true });
  const latency = new LinePlot("Kafka to committed", duration);
  const cards = cardsBelow();
  const body = el(
    "div",
    { class: "live", hidden: true },
    numbers,
    rate.node,
    latency.node,
    cards.node,
  );
  fill(panel, state, trouble, body);
  let timer = 0;
  let stop = new AbortController();
  let here = false;

  async function look() {
    clearTimeout(timer);
    stop.abort();
    stop = new AbortController();
    const { signal } = stop;
    try {
      const answer = await call("/v1/statistics", { query: { minutes: wanted.value }, signal });
      if (signal.aborted) return;
      draw(answer.body);
      fill(trouble);
      say("Live, every 2 s", false);
    } catch (error) {
      if (signal.aborted) return;
      if (!trouble.firstChild || error.status !== 0) fill(trouble, errorNotice(error, look));
      say("Not live", true);
      if (error.status === 401 || error.status === 403) return;
    }
    if (here && !document.hidden) timer = setTimeout(look, EVERY_MS);
  }

  function say(text, stale) {
    if (told.textContent !== text) told.textContent = text; // only a change is told aloud
    state.classList.toggle("stale", stale);
  }

  function draw(found) {
    body.hidden = false;
    const times = found.series.map((one) => new Date(one.minute));
    const line = (name, key) => ({ name, values: found.series.map((one) => one[key]) });
    fill(
      numbers,
      numbersOf(found).map(([name, value, bad]) =>
        el("div", {}, el("dt", {}, name), el("dd", { class: bad ? "bad" : null }, value)),
      ),
    );
    rate.update(times, [line("ads", "ads"), line("photos", "photos")]);
    latency.update(times, [line("p50", "p50_ms"), line("p99", "p99_ms")]);
    cards.draw(found);
    sawLabels(labelsOf(found));
  }

  document.addEventListener("visibilitychange", () => {
    if (!here) return;
    if (document.hidden) pause("Paused");
    else look();
  });

  function pause(text) {
    clearTimeout(timer);
    stop.abort();
    say(text, true);
  }

  return {
    show() {
      here = true;
      look();
    },
    hide() {
      here = false;
      pause("Paused");
    },
  };
}

function numbersOf(found) {
  const full = found.series.at(-2); // the last one has only begun
  const ready = found.sessions.filter((one) => one.state === "ready").length;
  const total = found.latencies.total;
  return [
    ["Ads, last full minute", count(full?.ads)],
    ["Photos, last full minute", count(full?.photos)],
    ["p50, whole time", duration(total?.p50_ms)],
    ["p99, whole time", duration(total?.p99_ms)],
    [
      "Waiting in Kafka",
      found.lag === null ? "Kafka is away" : count(found.lag.events),
      found.lag === null,
    ],
    ["Owed to Kafka", backlog(found.outbox), found.outbox.oldest_s > LATE_S],
    ["Sessions ready", `${ready} of ${found.sessions.length}`, ready === 0],
  ];
}

function backlog({ waiting, at_least: atLeast, oldest_s: oldestS }) {
  const many = `${count(waiting)}${atLeast ? "+" : ""}`;
  return waiting && oldestS >= 1 ? `${many}, ${span(oldestS)}` : many;
}

/** The cards under the plots; one for the labels of each task, as tasks appear. */
function cardsBelow() {
  const stages = livingCard("Latency by stage", "p50 · p99");
  const failures = livingCard(
    "Failures by reason",
    el("a", { href: "#/ads?list=failures" }, "Look at them"),
  );
  const sessions = livingCard("Sessions");
  const releases = livingCard("Releases");
  const tasks = new Map();
  const left = el("div", { class: "column" }, stages.node, failures.node, releases.node);
  const right = el("div", { class: "column" }, sessions.node);
  const node = el("div", { class: "live whole" }, left, right);
  const draw = (found) => {
    stages.tell(found.latencies, stagesDrawn);
    failures.tell(found.failures, failuresDrawn);
    sessions.tell(found.sessions, sessionsDrawn);
    releases.tell(found.releases, releasesDrawn);
    for (const [task, counts] of Object.entries(found.labels)) {
      const title = task === "category" ? "Categories" : titled(task);
      if (!tasks.has(task)) {
        tasks.set(task, livingCard(title, "ads in this time"));
        sessions.node.before(tasks.get(task).node);
      }
      tasks.get(task).tell(counts, (now) => labelsDrawn(now, title));
    }
  };
  return { node, draw };
}

function stagesDrawn(latencies) {
  const rows = STAGES.filter(([name]) => name in latencies).map(([name, title]) => {
    const one = latencies[name];
    return {
      label: title,
      value: one.p50_ms,
      text: `${duration(one.p50_ms)} · ${duration(one.p99_ms)}`,
    };
  });
  return rows.length ? bars(rows, { name: "Latency by stage" }) : nothing();
}

/** What the live release said most. */
function labelsDrawn(counts, title) {
  const rows = Object.entries(counts)
    .slice(0, MOST_BARS)
    .map(([label, value]) => ({ label, value, text: count(value) }));
  return rows.length ? bars(rows, { name: title }) : nothing();
}

function failuresDrawn(counts) {
  const rows = Object.entries(counts)
    .slice(0, MOST_BARS)
    .map(([code, value]) => ({ label: reason(code).what, value, text: count(value), kind: "bad" }));
  return rows.length
    ? bars(rows, { name: "Failures by reason" })
    : el("p", { class: "hint" }, "None in this time.");
}

const nothing = () => el("p", { class: "hint" }, "Nothing in this time.");
