// A task's answer, drawn by the keys of its details: no task is known here by name.

import { adPath, call, photoPath } from "/page/api.js";
import { bars } from "/page/bars.js";
import { el, link } from "/page/dom.js";
import { moment, number, share, shortId, titled } from "/page/format.js";
import { adHash } from "/page/route.js";

const DRAWN = { top, range, ads, regions };

/** One task's card: label, score, details, and what made it. */
export function answerCard(task, ad, context) {
  const said = ad.predictions[task];
  const keys = Object.keys(said.details);
  const drawn = keys.filter((key) => key in DRAWN && fits(key, said.details[key]));
  const rest = Object.fromEntries(
    keys.filter((key) => !drawn.includes(key)).map((key) => [key, said.details[key]]),
  );
  return el(
    "section",
    { class: "card answer", "aria-label": `Answer: ${task}` },
    el(
      "header",
      {},
      el("h2", {}, titled(task)),
      el("strong", { class: "verdict" }, said.label),
      el("span", { class: "hint" }, share(said.score)),
    ),
    el(
      "div",
      { class: "body" },
      drawn.map((key) => DRAWN[key](said.details[key], { ...context, ad, task })),
      Object.keys(rest).length > 0 && table(rest),
      source(said, ad),
    ),
  );
}

function fits(key, value) {
  return key === "range" ? value !== null && typeof value === "object" : Array.isArray(value);
}

function top(pairs) {
  const rows = pairs.map(([label, value]) => ({ label, value, text: share(value) }));
  return bars(rows, { most: 1, name: "Best categories" });
}

/** From low to high, the middle marked; where the ad has a price in that currency, it too. */
function range(found, { ad }) {
  const { low, middle, high, currency } = found;
  const asked =
    ad.price !== null && (!currency || ad.currency === currency) ? Number(ad.price) : null;
  const values = [low, middle, high, asked].filter(
    (value) => value !== null && value !== undefined,
  );
  const least = Math.min(...values);
  const most = Math.max(...values);
  const room = (most - least || Math.abs(most) || 1) * 0.12;
  const at = (value) => `${((value - least + room) / (most - least + 2 * room)) * 100}%`;
  const unit = currency ?? "";
  const words = `${number(low)} to ${number(high)} ${unit}, most likely ${number(middle)}${asked === null ? "" : `; asked ${number(asked)}`}`;
  const between = `calc(${at(high)} - ${at(low)})`;
  return el(
    "div",
    { class: "range", role: "img", "aria-label": words },
    el(
      "div",
      { class: "track" },
      el("span", { class: "between", style: { left: at(low), width: between } }),
      el("span", { class: "mark", style: { left: at(middle) } }),
      asked !== null && el("span", { class: "asked", style: { left: at(asked) } }),
    ),
    el(
      "div",
      { class: "ends" },
      [
        ["low", low],
        ["most likely", middle],
        ["high", high],
        ["asked", asked],
      ]
        .filter(([, v]) => v != null)
        .map(([name, v]) =>
          el("span", {}, el("span", { class: "hint" }, name), ` ${number(v)} ${unit}`),
        ),
    ),
  );
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
    const sha256 = other.sha256 ?? (await firstPhoto(other));
    if (sha256) box.append(pictures.show(photoPath(sha256), ""));
  } catch {
    // it may be deleted, or not this key's: its name is there
  }
}

async function firstPhoto(other) {
  const { body } = await call(adPath(other.catalog, other.ad_id));
  return body.photos.find((photo) => photo.status === "ok")?.sha256;
}

/** What was found where: drawn over the photos, and as a list. */
function regions(found, { photos }) {
  photos.mark(found);
  const rows = found.map((region) => ({
    label: `${region.label}, photo ${(region.position ?? 0) + 1}`,
    value: region.score,
    text: share(region.score),
  }));
  return bars(rows, { most: 1, name: "Found on the photos" });
}

/** Whatever has no drawing: names and values. */
function table(details) {
  const rows = Object.entries(details).map(([name, value]) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, name.replaceAll("_", " ")),
      el("td", {}, written(value)),
    ),
  );
  return el("table", { class: "details" }, el("tbody", {}, rows));
}

function written(value) {
  if (typeof value === "number")
    return Number.isInteger(value) ? String(value) : value.toPrecision(4);
  if (typeof value === "string") return value;
  const text = JSON.stringify(value);
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

function source(said, ad) {
  const older =
    said.revision !== ad.revision && el("span", { class: "chip" }, `of revision ${said.revision}`);
  return el(
    "p",
    { class: "source hint" },
    el(
      "span",
      {},
      "Release ",
      link(shortId(said.release.id, 40), said.release.url, {
        class: "mono",
        title: said.release.id,
      }),
    ),
    el(
      "span",
      {},
      "Run ",
      link(shortId(said.run.id), said.run.url, { class: "mono", title: said.run.id }),
    ),
    el("span", {}, moment(said.scored_at)),
    older,
  );
}
