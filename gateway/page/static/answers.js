// The card of a task's prediction. The keys of `details` choose the drawing, so that a new task
// needs no change here.

import { adPath, call, thumbnailPath } from "/page/api.js";
import { bars } from "/page/bars.js";
import { el, link } from "/page/dom.js";
import { moment, share, shortId, titled } from "/page/format.js";
import { hiddenThumb, isBlocked, ofPhotos, photoList } from "/page/judged.js";
import { ownPrice, KEYS as PRICE_KEYS, priceAnswer, range } from "/page/price.js";
import { adHash } from "/page/route.js";

const DRAWN = { path, top, range: ownRange, ads, regions };
const LONG_LABEL = 22;
const LONGEST_PART = 32;

/** A task's card: label, score, details, and the release and run that produced them. */
export function answerCard(task, ad, context) {
  const prediction = ad.predictions[task];
  return el(
    "section",
    { class: `card answer ${task}`, "aria-label": `Prediction: ${task}` },
    el(
      "div",
      { class: "says" },
      el("h2", {}, titled(task)),
      headline(prediction.label),
      el("p", { class: "score" }, share(prediction.score), " ", el("span", {}, "score")),
      comparison(task, ad, prediction),
    ),
    el(
      "div",
      { class: "body" },
      drawings(prediction, { ...context, ad, task }),
      source(prediction, ad),
    ),
  );
}

/** Beside the category: what the seller filed the ad as, or what a person has said. */
function comparison(task, ad, prediction) {
  const given = ad.labels[task];
  const filed = task === "category" ? ad.category : null;
  const other = given?.label ?? filed;
  if (!other) return null;
  const same = other === prediction.label;
  const above = prediction.path?.length > 0 && other.startsWith(`${prediction.label}/`);
  return el(
    "p",
    { class: "filed" },
    el(
      "span",
      { class: `chip ${same || above ? "good" : "bad"}` },
      same ? "agrees" : above ? "agrees so far" : "differs",
    ),
    el(
      "span",
      {},
      given ? `${given.given_by} says ` : "The seller filed it as ",
      el("b", { dir: "auto" }, other),
    ),
  );
}

function fits(key, value) {
  return key === "range" ? value !== null && typeof value === "object" : Array.isArray(value);
}

/** The categories from the root to the answer, where categories are a tree. */
function path(parts) {
  if (parts.length === 0) {
    return el("p", { class: "hint" }, "No category is sure: this is the most likely one.");
  }
  const names = parts.map((part) => el("li", { class: "chip", dir: "auto" }, part));
  return el("ol", { class: "path", "aria-label": "Categories from the root" }, names);
}

function ownRange(found, { ad }) {
  return range({ ...found, price: ownPrice(ad, found.currency) });
}

function top(pairs) {
  const rows = pairs.map(([label, value]) => ({ label, value, text: share(value) }));
  return bars(rows, { max: 1, name: "Best categories" });
}

/** Labels that are paths break behind a slash; the longest part chooses the size. */
function headline(label) {
  const parts = label.split("/");
  const longest = Math.max(...parts.map((part) => part.length));
  const size = longest > LONGEST_PART ? "longest" : label.length > LONG_LABEL ? "long" : "";
  const broken = parts.flatMap((part, index) => (index ? ["/", el("wbr"), part] : [part]));
  return el("p", { class: `verdict ${size}` }, el("strong", { dir: "auto" }, broken));
}

/** The drawings of an answer's details, by their keys, and a table of the rest. */
function drawings({ details, score }, context) {
  const { ad } = context;
  const nodes = [];
  const done = new Set();
  if (["low", "middle", "high"].every((key) => key in details)) {
    nodes.push(priceAnswer(details, ad));
    for (const key of PRICE_KEYS) done.add(key);
  }
  if (ofPhotos(details)) {
    nodes.push(photoList(details, ad));
    for (const key of ["photos", "best", "cover", "flags"]) done.add(key);
  }
  for (const [key, value] of Object.entries(details)) {
    if (done.has(key) || !(key in DRAWN) || !fits(key, value)) continue;
    nodes.push(DRAWN[key](value, context));
    done.add(key);
  }
  const rest = Object.entries(details).filter(([key, value]) => !done.has(key) && value !== score);
  return [...nodes, rest.length > 0 && table(Object.fromEntries(rest))];
}

/** Other ads, with the first photo of each. */
function ads(found, { pictures }) {
  return el(
    "ul",
    { class: "others" },
    found.map((other) => otherAd(other, pictures)),
  );
}

function otherAd(other, pictures) {
  const box = el("span", { class: "thumb" });
  thumbnail(other, box, pictures);
  const score = typeof other.score === "number" ? share(other.score) : "";
  return el(
    "li",
    {},
    el(
      "a",
      { href: adHash(other.catalog, other.ad_id) },
      box,
      el("span", { class: "mono id" }, `${other.catalog}/${other.ad_id}`),
      el("span", { class: "hint" }, score),
    ),
  );
}

async function thumbnail(other, box, pictures) {
  try {
    const { body } = await call(adPath(other.catalog, other.ad_id));
    const first = body.photos.find((photo) => photo.status === "ok")?.sha256;
    const sha256 = other.sha256 ?? first;
    if (sha256 && isBlocked(body)) box.append(hiddenThumb());
    else if (sha256) box.append(pictures.show(thumbnailPath(sha256), "", { loading: "lazy" }));
  } catch {
    // The ad may be deleted, or in a catalog that the key may not read: its id is shown anyway.
  }
}

/** Detected regions: drawn over the photos, and as a list. */
function regions(found, { photos }) {
  photos.mark(found);
  const rows = found.map((region) => ({
    label: `${region.label}, photo ${(region.position ?? 0) + 1}`,
    value: region.score,
    text: share(region.score),
  }));
  return bars(rows, { max: 1, name: "Found on the photos" });
}

/** Details without a drawing: names and values. */
function table(details) {
  const rows = Object.entries(details).map(([name, value]) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, name.replaceAll("_", " ")),
      el("td", {}, formatted(value)),
    ),
  );
  return el("table", { class: "details" }, el("tbody", {}, rows));
}

function formatted(value) {
  if (typeof value === "number")
    return Number.isInteger(value) ? String(value) : value.toPrecision(4);
  if (typeof value === "string") return value;
  const text = JSON.stringify(value);
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

function source(prediction, ad) {
  const { release, run, revision } = prediction;
  const older =
    revision !== ad.revision && el("span", { class: "chip" }, `of revision ${revision}`);
  return el(
    "p",
    { class: "source hint" },
    el(
      "span",
      {},
      "Release ",
      link(shortId(release.id, 40), release.url, {
        class: "mono",
        title: release.id,
      }),
    ),
    el("span", {}, "Run ", link(shortId(run.id), run.url, { class: "mono", title: run.id })),
    el("span", {}, moment(prediction.scored_at)),
    older,
  );
}
