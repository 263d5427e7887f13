// The rows of the lists: ads with what was filed and predicted, failures with what helps.

import { thumbnailPath } from "/page/api.js";
import { el, link } from "/page/dom.js";
import { plural, share, shortId } from "/page/format.js";
import { hiddenThumb, isBlocked } from "/page/judged.js";
import { reason } from "/page/reasons.js";
import { adHash } from "/page/route.js";
import { when } from "/page/times.js";

const THUMB = 48;
const CHIPS = { scored: "good", unscored: "bad", received: "busy" };

export function adList(ads, pictures) {
  return el(
    "ul",
    { class: "card list ads", "aria-label": "Ads" },
    ads.map((ad) => adRow(ad, pictures)),
  );
}

export function failureList(failures) {
  return el(
    "ul",
    { class: "card list failures", "aria-label": "Failures" },
    failures.map(failureRow),
  );
}

function adRow(ad, pictures) {
  const box = el("span", { class: "thumb" });
  if (ad.sha256 && isBlocked(ad)) box.append(hiddenThumb());
  else if (ad.sha256) {
    const size = { width: THUMB, height: THUMB, loading: "lazy" };
    box.append(pictures.show(thumbnailPath(ad.sha256), "", size));
  }
  return el(
    "li",
    {},
    el(
      "a",
      { href: adHash(ad.catalog, ad.ad_id) },
      box,
      compared(ad),
      el(
        "span",
        { class: "title" },
        el("span", { dir: "auto" }, ad.title || el("span", { class: "hint" }, "no title")),
        el("span", { class: "mono id" }, `${ad.catalog}/${ad.ad_id}`),
      ),
      el(
        "span",
        { class: "states" },
        el("span", { class: `chip ${CHIPS[ad.status] ?? ""}` }, ad.status.replace("_", " ")),
        ad.failed_photos > 0 &&
          el("span", { class: "chip bad" }, `${plural(ad.failed_photos, "photo")} failed`),
      ),
      when(ad.received_at, { class: "when hint" }),
    ),
  );
}

/** What was predicted, beside what the seller chose, and what a person said is right. */
export function compared(ad) {
  const category = ad.predictions.category;
  const label = ad.labels.category;
  const others = Object.entries(ad.predictions).filter(([task]) => task !== "category");
  const differs = category && ad.category && category.label !== ad.category;
  return el(
    "span",
    { class: `predicted${differs ? " differs" : ""}` },
    el(
      "span",
      { class: "answer-line" },
      category
        ? el("strong", { dir: "auto" }, category.label)
        : el("span", { class: "hint" }, "no prediction"),
      category && el("span", { class: "hint" }, share(category.score)),
      others.map(([task, one]) =>
        el("span", { class: isNoted(task, one) ? "chip bad" : "hint" }, `${task}: ${one.label}`),
      ),
    ),
    el(
      "span",
      { class: "filed-as hint" },
      differs && el("span", { class: "mark-differs", "aria-hidden": "true" }, "≠"),
      filedAs(ad, category),
    ),
    label && el("span", { class: "chip good" }, `labelled ${label}`),
  );
}

const isNoted = (task, { label }) =>
  task === "moderation" && (label === "block" || label === "review");

function filedAs(ad, category) {
  if (!ad.category) return "filed without a category";
  if (category?.label === ad.category) return "filed as the same";
  return ["filed as ", el("span", { dir: "auto" }, ad.category)];
}

function failureRow(failure) {
  const { what, todo } = reason(failure.reason);
  const href = failure.catalog && failure.ad_id ? adHash(failure.catalog, failure.ad_id) : null;
  const subject = href ? `${failure.catalog}/${failure.ad_id}` : failure.subject;
  const run = link(shortId(failure.run.id), failure.run.url, {
    class: "mono",
    title: failure.run.id,
  });
  return el(
    "li",
    {},
    el("p", { class: "what" }, el("strong", {}, what), " ", el("code", {}, failure.reason)),
    when(failure.failed_at, { class: "when hint" }),
    el("p", { class: "detail" }, failure.detail),
    el("p", { class: "todo" }, todo),
    el(
      "p",
      { class: "source hint" },
      link(subject, href, { class: "mono inside" }),
      failure.url && failure.url !== failure.subject && el("span", { class: "mono" }, failure.url),
      el("span", {}, "run ", run),
    ),
  );
}
