// Labels that were seen, to suggest: in answers, and among the statistics' categories.

import { call } from "/page/api.js";

const seen = new Set();
let asked = false;

export function sawLabels(labels) {
  for (const label of labels) seen.add(label);
}

export function labelsSeen() {
  if (!asked) {
    asked = true;
    call("/v1/statistics").then(
      ({ body }) => sawLabels(labelsOf(body)),
      () => {},
    );
  }
  return [...seen].sort((a, b) => a.localeCompare(b));
}

/** The labels in a statistics answer. */
export function labelsOf(statistics) {
  return Object.keys(statistics.labels.category ?? {});
}
