// Where the milliseconds of an ad went: a stacked bar and its numbers.

import { card, el } from "/page/dom.js";
import { duration, share } from "/page/format.js";

const STAGES = [
  ["kafka", "Waiting in Kafka", "until a session had read it"],
  ["fetch", "Fetch", "until the last photo's bytes were there"],
  ["photos", "Photos", "check, rendition, store, decode"],
  ["queued", "Queued", "ready, and the model was busy"],
  ["embed", "Embed", "the backbone"],
  ["predict", "Predict", "the heads"],
  ["commit", "Commit", "and what lies between the stages"],
];

/** {stage: ms}, those that are known; what no stage accounts for is the commit's. */
export function stages(timings) {
  const found = {
    kafka: timings.polled_at ? new Date(timings.polled_at) - new Date(timings.kafka_at) : null,
    fetch: timings.fetch_ms,
    photos: timings.photos_ms,
    queued: timings.queued_ms,
    embed: timings.embed_ms,
    predict: timings.predict_ms,
  };
  if (found.kafka !== null) found.kafka = Math.max(0, found.kafka); // two clocks
  const known = Object.values(found).reduce((sum, ms) => sum + (ms ?? 0), 0);
  found.commit = timings.total_ms === null ? null : Math.max(0, timings.total_ms - known);
  return found;
}

export function timingsCard(ad, tookMs) {
  if (!ad.timings) return noTimes();
  const found = stages(ad.timings);
  const rows = STAGES.filter(([name]) => found[name] !== null);
  const sum = rows.reduce((total, [name]) => total + found[name], 0);
  const total = ad.timings.total_ms ?? sum;
  const stack = el(
    "div",
    { class: "stack", "aria-hidden": "true" },
    rows.map(([name, title]) =>
      el("span", {
        class: `seg s-${name}`,
        title: `${title} ${duration(found[name])}`,
        style: { "flex-grow": found[name] },
      }),
    ),
  );
  const legend = rows.map(([name, title, hint]) =>
    el(
      "tr",
      {},
      el(
        "th",
        { scope: "row" },
        el("span", { class: `swatch s-${name}` }),
        title,
        " ",
        el("span", { class: "hint" }, hint),
      ),
      el("td", {}, duration(found[name])),
      el("td", { class: "hint" }, share(sum ? found[name] / sum : 0)),
    ),
  );
  const aside = tookMs === null ? null : `here after ${duration(tookMs)}`;
  return card(
    "Where the time went",
    aside,
    el(
      "p",
      { class: "total" },
      el("strong", {}, duration(total)),
      el(
        "span",
        { class: "hint" },
        ad.timings.total_ms === null
          ? " so far; the commit's moment comes after it"
          : " from Kafka to the committed row",
      ),
    ),
    stack,
    el("table", { class: "times" }, el("tbody", {}, legend)),
  );
}

function noTimes() {
  return card(
    "Where the time went",
    null,
    el("p", { class: "hint" }, "Known once a session has committed the ad; kept for some days."),
  );
}
