// One ad: its predictions, photos, timings, the feedback form and the ad's own fields.

import { answerCard } from "/page/answers.js";
import { card, el, fill, link } from "/page/dom.js";
import { duplicateAds } from "/page/duplicates.js";
import { feedbackForm } from "/page/feedback.js";
import { moment, number } from "/page/format.js";
import { notice } from "/page/notices.js";
import { photosCard } from "/page/photos.js";
import { whereSegmented } from "/page/segmented.js";
import { similarAds } from "/page/similar.js";
import { timingsCard } from "/page/timings.js";

const STATUS = {
  received: ["accepted, not scored yet", "busy"],
  scored: ["scored", "good"],
  unscored: ["no photo could be used", "bad"],
  no_photos: ["no photos", ""],
  deleted: ["deleted", ""],
};
const LONG_TEXT = 280;

/**
 * The view of an ad. `tookMs`: from this browser's request to the response, if it sent the ad.
 * `signal`: aborted when the view is replaced.
 */
export function result(ad, { pictures, tookMs, again, signal }) {
  const photos = photosCard(ad, pictures, signal);
  let times = timingsCard(ad, tookMs);
  const predictions = predictionCards(ad, photos, pictures);
  const feedback = ad.status === "deleted" ? null : feedbackForm(ad);
  const node = el(
    "article",
    { class: "result", "aria-labelledby": "ad-title" },
    head(ad, again, pictures),
    ad.waiting && waitingNotice(ad),
    predictions.slice(0, 1),
    el(
      "div",
      { class: "columns" },
      el("div", { class: "column" }, photos.node, facts(ad)),
      el("div", { class: "column" }, times, feedback, predictions.slice(1)),
    ),
    duplicateAds(ad, pictures, signal),
    similarAds(ad, pictures, signal),
  );
  node.retime = (newer, took) => {
    const next = timingsCard(newer, took);
    times.replaceWith(next);
    times = next;
  };
  return node;
}

function head(ad, again, pictures) {
  const [words, kind] = STATUS[ad.status] ?? [ad.status, ""];
  const id = `${ad.catalog}/${ad.ad_id}`;
  const box = el("span", { class: "covered" });
  whereSegmented(ad, ({ cover }) => fill(box, cover(ad, pictures)));
  return el(
    "header",
    { class: "head" },
    box,
    el("h1", { id: "ad-title", tabindex: -1, dir: "auto", title: ad.title || id }, ad.title || id),
    el(
      "div",
      { class: "row" },
      el("span", { class: "mono id" }, id),
      el("span", { class: `chip ${kind}`, role: "status" }, words),
      el("button", { type: "button", class: "quiet", onclick: again }, "Reload"),
      el("a", { class: "button", href: "#/look" }, "New photos"),
    ),
  );
}

function waitingNotice(ad) {
  const what =
    ad.waiting.kind === "deleted" ? "A deletion was accepted" : "A newer revision was accepted";
  return notice(
    ad.status === "received" ? "Accepted, not scored yet" : what,
    `Revision ${ad.waiting.revision}, accepted ${moment(ad.waiting.accepted_at)}, is not committed yet. This page checks for 30 s. After that press Reload, and check in the tab Live that a session is running.`,
  );
}

function predictionCards(ad, photos, pictures) {
  const tasks = Object.keys(ad.predictions).sort(categoryFirst);
  if (tasks.length) return tasks.map((task) => answerCard(task, ad, { photos, pictures }));
  const why = {
    received: "No session has scored this ad yet.",
    unscored: "No photo of the ad could be used; the reason is shown with each photo.",
    no_photos: "The ad has no photos to score.",
    deleted: "The ad was deleted.",
  };
  return [
    el(
      "section",
      { class: "card answer none", "aria-label": "Predictions" },
      el("h2", {}, "No answer"),
      el("p", {}, why[ad.status] ?? "The live release has no predictions for this ad."),
    ),
  ];
}

function categoryFirst(a, b) {
  return (b === "category") - (a === "category") || a.localeCompare(b);
}

function facts(ad) {
  const rows = [
    ["Title", ad.title && longText(ad.title)],
    ["Seller's category", ad.category],
    ["Price", ad.price === null ? null : `${number(Number(ad.price))} ${ad.currency ?? ""}`],
    ["Description", ad.description && longText(ad.description)],
    ["Revision", String(ad.revision)],
    ["Received", moment(ad.received_at)],
    ["Day (UTC)", ad.day],
    ["Committed by run", ad.run && link(ad.run.id, ad.run.url, { class: "mono" })],
  ].filter(([, value]) => value);
  for (const [task, { label, given_by: by, given_at: at }] of Object.entries(ad.labels)) {
    rows.push([`Correct ${task}`, `${label}, given by ${by}, ${moment(at)}`]);
  }
  const node = card(
    "The ad",
    null,
    el(
      "dl",
      { class: "facts" },
      rows.map(([name, value]) => [el("dt", {}, name), el("dd", { dir: "auto" }, value)]),
    ),
  );
  node.classList.add("about");
  return node;
}

/** A long text is closed at first, so that the rest of the ad can be seen. */
function longText(text) {
  if (text.length <= LONG_TEXT) return text;
  return el(
    "details",
    {},
    el("summary", {}, `${text.slice(0, LONG_TEXT / 2).trimEnd()}… (${text.length} characters)`),
    text,
  );
}
