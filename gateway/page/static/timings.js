// The timings of an ad by stage: a stacked bar and a table.

import { card, el } from "/page/dom.js";
import { duration, share } from "/page/format.js";

const STAGES = [
  ["kafka", "Waiting in Kafka", "until a session has read the event"],
  ["fetch", "Fetch", "until all photos are downloaded"],
  ["photos", "Photos", "check, rendition, decode"],
  ["queued", "Queued", "until the model is free"],
  ["embed", "Embed", "the backbone"],
  ["predict", "Predict", "the heads"],
  ["commit", "Commit", "and the time between the stages"],
];

/** Returns {stage: ms}, null if unknown; the time of no other stage counts as the commit's. */
export function stages(timings) {
  const found = {
    kafka: timings.polled_at ? new Date(timings.polled_at) - new Date(timings.kafka_at) : null,
    fetch: timings.fetch_ms,
    photos: timings.photos_ms,
    queued: timings.queued_ms,
    embed: timings.embed_ms,
    predict: timings.predict_ms,
  };
  if (found.kafka !== null) found.kafka = Math.max(0, found.kafka); // the two clocks differ
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
  const aside = tookMs === null ? null : `received after ${duration(tookMs)}`;
  return card(
    "Timings",
    aside,
    el(
      "p",
      { class: "total" },
      el("strong", {}, duration(total)),
      el(
        "span",
        { class: "hint" },
        ad.timings.total_ms === null
          ? " so far; the commit time is not recorded yet"
          : " from Kafka to the committed row",
      ),
    ),
    stack,
    el("table", { class: "times" }, el("tbody", {}, legend)),
  );
}

function noTimes() {
  return card(
    "Timings",
    null,
    el(
      "p",
      { class: "hint" },
      "Available once a session has committed the ad, and for some days after that.",
    ),
  );
}
