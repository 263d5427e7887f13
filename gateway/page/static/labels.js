// The labels that the live release can predict, and others that were seen: they are offered where
// a person gives a label.

import { call } from "/page/api.js";

const KEPT_MS = 60_000;
const RETRY_MS = 5_000; // while no release is live
const seen = new Set();
let release = null;
let reading = null;
let readAt = Number.NEGATIVE_INFINITY;

/** The live release by the API, at most a minute old; null if none is live. Throws CallError. */
export function liveRelease() {
  const age = performance.now() - readAt;
  if (age < (release ? KEPT_MS : RETRY_MS)) return Promise.resolve(release);
  reading ??= readLive().finally(() => {
    reading = null;
  });
  return reading;
}

async function readLive() {
  try {
    release = (await call("/v1/releases/live")).body;
  } catch (error) {
    if (error.status !== 404) throw error;
    release = null;
  }
  readAt = performance.now();
  return release;
}

export function addLabels(labels) {
  for (const label of labels) seen.add(label);
}

/** The known labels of a task in alphabetical order; reads the live release for the next call. */
export function knownLabels(task = "category") {
  liveRelease().catch(() => {}); // without it, the labels that were seen are offered
  const known = new Set(release?.labels[task] ?? []);
  if (task === "category") for (const label of seen) known.add(label);
  return [...known].sort((a, b) => a.localeCompare(b));
}

/** The category labels in a response of the statistics. */
export function labelsOf(statistics) {
  return Object.keys(statistics.labels.category ?? {});
}
