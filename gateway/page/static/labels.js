// Labels to suggest: from predictions, and from the categories in the statistics.

import { call } from "/page/api.js";

const known = new Set();
let requested = false;

export function addLabels(labels) {
  for (const label of labels) known.add(label);
}

export function knownLabels() {
  if (!requested) {
    requested = true;
    call("/v1/statistics").then(
      ({ body }) => addLabels(labelsOf(body)),
      () => {},
    );
  }
  return [...known].sort((a, b) => a.localeCompare(b));
}

/** The category labels in a response of the statistics. */
export function labelsOf(statistics) {
  return Object.keys(statistics.labels.category ?? {});
}
