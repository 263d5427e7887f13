// The tab Live: the statistics, requested every two seconds while the tab is visible.

import { call } from "/page/api.js";
import { el, fill, liveCard } from "/page/dom.js";
import { count, duration, span } from "/page/format.js";
import { historyList, marksOf, readHistory } from "/page/history.js";
import { addLabels, labelsOf } from "/page/labels.js";
import { cardsBelow, legend } from "/page/live-cards.js";
import { errorNotice } from "/page/notices.js";
import { LinePlot } from "/page/plots.js";

const EVERY_MS = 2000;
const HISTORY_EVERY_MS = 10_000;
const SPANS = [
  [30, "30 minutes"],
  [60, "1 hour"],
  [360, "6 hours"],
  [1440, "24 hours"],
];
const LATE_S = 10;

export function liveView(panel) {
  const period = el(
    "select",
    { id: "span", "aria-label": "Period", onchange: () => look() },
    SPANS.map(([minutes, text]) =>
      el("option", { value: minutes, selected: minutes === 30 }, `Last ${text}`),
    ),
  );
  const message = el("span", { role: "status" }, "Loading");
  const state = el(
    "p",
    { class: "state" },
    el("span", { class: "dot-live", "aria-hidden": "true" }),
    message,
    period,
  );
  const errors = el("div", {});
  const numbers = el("dl", { class: "figures whole" });
  const rate = new LinePlot("Ads and photos per minute", count, { area: true });
  const latency = new LinePlot("Kafka to committed", duration);
  const events = liveCard("Events", legend());
  events.node.classList.add("whole");
  const idle = el("p", { class: "card empty whole", hidden: true });
  const body = el(
    "div",
    { class: "live", hidden: true },
    numbers,
    idle,
    rate.node,
    latency.node,
    events.node,
  );
  const cards = cardsBelow(body);
  let changes = [];
  let changesOf = { minutes: 0, at: 0 };
  fill(panel, state, errors, body);
  let timer = 0;
  let stop = new AbortController();
  let visible = false;

  async function look() {
    clearTimeout(timer);
    stop.abort();
    stop = new AbortController();
    const { signal } = stop;
    try {
      const answer = await call("/v1/statistics", { query: { minutes: period.value }, signal });
      await lookBack(signal);
      if (signal.aborted) return;
      draw(answer.body);
      fill(errors);
      say("Updated every 2 s", false);
    } catch (error) {
      if (signal.aborted) return;
      if (!errors.firstChild || error.status !== 0) fill(errors, errorNotice(error, look));
      say("Not updating", true);
      if (error.status === 401 || error.status === 403) return;
    }
    if (visible && !document.hidden) timer = setTimeout(look, EVERY_MS);
  }

  /** Changes are rare: they are read less often than the figures. */
  async function lookBack(signal) {
    const minutes = Number(period.value);
    const fresh = performance.now() - changesOf.at < HISTORY_EVERY_MS;
    if (fresh && changesOf.minutes === minutes) return;
    changes = await readHistory(minutes, signal);
    changesOf = { minutes, at: performance.now() };
  }

  function say(text, stale) {
    if (message.textContent !== text) message.textContent = text; // screen readers read changes
    state.classList.toggle("stale", stale);
  }

  function draw(statistics) {
    body.hidden = false;
    const times = statistics.series.map((one) => new Date(one.minute));
    const line = (name, key) => ({ name, values: statistics.series.map((one) => one[key]) });
    fill(
      numbers,
      numbersOf(statistics).map(([name, value, bad]) =>
        el("div", {}, el("dt", {}, name), el("dd", { class: bad ? "bad" : null }, value)),
      ),
    );
    const marks = marksOf(changes);
    const none = statistics.totals.events === 0;
    rate.update(times, none ? [] : [line("ads", "ads"), line("photos", "photos")], marks);
    latency.update(times, [line("p50", "p50_ms"), line("p99", "p99_ms")], marks);
    rate.node.hidden = none;
    latency.node.hidden = none;
    if (idle.hidden === none) fill(idle, none && idleText());
    idle.hidden = !none;
    events.update(changes, historyList);
    cards.draw(statistics);
    addLabels(labelsOf(statistics));
  }

  function idleText() {
    const longest = SPANS.at(-1);
    const longer = el(
      "button",
      {
        type: "button",
        onclick: () => {
          period.value = longest[0];
          look();
        },
      },
      `Look at the last ${longest[1]}`,
    );
    return [
      "No ads came in this period. ",
      el("a", { href: "#/look" }, "Score a photo"),
      ", or ",
      el("a", { href: "/docs#post-v1-ads" }, "post an ad"),
      ". ",
      Number(period.value) < longest[0] && longer,
    ];
  }

  document.addEventListener("visibilitychange", () => {
    if (!visible) return;
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
      visible = true;
      look();
    },
    hide() {
      visible = false;
      pause("Paused");
    },
  };
}

function numbersOf({ series, sessions, latencies, lag, outbox, store_problem: storeProblem }) {
  const full = series.at(-2); // the last minute is not complete
  const ready = sessions.filter((one) => one.state === "ready").length;
  const total = latencies.total;
  return [
    ["Ads, last full minute", count(full?.ads)],
    ["Photos, last full minute", count(full?.photos)],
    ["p50, whole period", duration(total?.p50_ms)],
    ["p99, whole period", duration(total?.p99_ms)],
    ["Waiting in Kafka", lag === null ? "Kafka unavailable" : count(lag.events), lag === null],
    ["Unpublished (outbox)", backlog(outbox), outbox.oldest_s > LATE_S],
    ["Sessions ready", `${ready} of ${sessions.length}`, ready === 0],
    ...(storeProblem ? [["Photo store", storeProblem, true]] : []),
  ];
}

function backlog({ waiting, at_least: atLeast, oldest_s: oldestS }) {
  const many = `${count(waiting)}${atLeast ? "+" : ""}`;
  return waiting && oldestS >= 1 ? `${many}, ${span(oldestS)}` : many;
}
