// One ad of the queue: its photos, what was filed and predicted, and the buttons of an answer.

import { photoPath } from "/page/api.js";
import { combobox } from "/page/combobox.js";
import { el, fill } from "/page/dom.js";
import { share } from "/page/format.js";
import { curtain, isBlocked } from "/page/judged.js";
import { knownLabels } from "/page/labels.js";
import { adHash } from "/page/route.js";
import { when } from "/page/times.js";

const PHOTO = 480;
export const MAX_CANDIDATES = 9;

/** Returns {node, draw, details, correct}. `act`: {accept, filed, correct, skip, back, pick}. */
export function stage(act) {
  const photos = el("div", { class: "queue-photos" });
  const facts = el("div", { class: "queue-facts" });
  const candidates = el("ol", { class: "candidates", "aria-label": "Predicted labels" });
  const accept = named("A", act.accept, "main");
  const filed = named("F", act.filed);
  let current = null;
  const { node: box, input } = combobox({
    options: () => offered(current),
    attributes: { id: "queue-label", maxlength: 200, dir: "auto" },
  });
  const form = el(
    "form",
    {
      class: "queue-correct",
      onsubmit: (event) => {
        event.preventDefault();
        const label = input.value.trim();
        if (label) act.correct(label);
      },
    },
    el("label", { for: "queue-label" }, "Another category ", el("kbd", {}, "C")),
    el("div", { class: "row" }, box, el("button", { type: "submit" }, "Correct")),
  );
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented) return;
    input.value = "";
    node.focus();
  });
  const moves = el(
    "p",
    { class: "row moves" },
    keyed("Back", "←", act.back),
    keyed("Skip", "S", act.skip),
  );
  const node = el(
    "section",
    { class: "card queue-stage", tabindex: -1, "aria-label": "Ad to label" },
    photos,
    el(
      "div",
      { class: "queue-answer" },
      facts,
      el("div", { class: "row answers" }, accept.node, filed.node),
      candidates,
      form,
      moves,
    ),
  );

  function draw(ad, pictures) {
    current = ad;
    input.value = "";
    const category = ad.predictions.category;
    fill(photos, photo(ad.sha256, ad, pictures));
    fill(candidates);
    fill(facts, about(ad));
    accept.name(category ? `Accept “${category.label}”` : "Accept", category !== undefined);
    const differs = ad.category && ad.category !== category?.label;
    filed.name(`“${ad.category}” is right`, Boolean(differs));
  }

  /** What the ad itself says: its other photos, and the other predicted labels. */
  function details(ad, pictures) {
    const others = ad.photos.filter((one) => one.sha256 && one.sha256 !== current.sha256);
    const small = others.slice(0, 6).map((one) => photo(one.sha256, ad, pictures));
    if (small.length) photos.append(el("div", { class: "queue-more" }, small));
    const top = ad.predictions.category?.details.top ?? [];
    fill(
      candidates,
      top.slice(0, MAX_CANDIDATES).map(([label, score], index) => candidate(label, score, index)),
    );
  }

  function candidate(label, score, index) {
    return el(
      "li",
      {},
      el(
        "button",
        { type: "button", onclick: () => act.pick(index) },
        el("kbd", {}, String(index + 1)),
        el("span", { dir: "auto", class: "name" }, label),
        el("span", { class: "hint" }, share(score)),
      ),
    );
  }

  return { node, draw, details, correct: () => input.focus() };
}

function offered(ad) {
  const first = [ad?.category, ad?.predictions.category?.label].filter(Boolean);
  const others = knownLabels().filter((label) => !first.includes(label));
  return [...new Set(first), ...others].map((value) => ({
    value,
    hint: value === ad?.category ? "filed" : null,
  }));
}

function photo(sha256, ad, pictures) {
  if (!sha256) return el("p", { class: "hint" }, "No photo.");
  const alt = `Photo of ${ad.title || ad.ad_id}`;
  const show = () => pictures.show(photoPath(sha256), alt, { width: PHOTO, height: PHOTO });
  return isBlocked(ad) ? curtain("The photo", show) : show();
}

function about(ad) {
  const category = ad.predictions.category;
  const label = ad.labels.category;
  const differs = category && ad.category && ad.category !== category.label;
  return [
    el("h2", { dir: "auto" }, ad.title || "No title"),
    el(
      "p",
      { class: "hint" },
      el("a", { class: "mono", href: adHash(ad.catalog, ad.ad_id) }, `${ad.catalog}/${ad.ad_id}`),
      " · ",
      when(ad.received_at),
    ),
    el(
      "dl",
      { class: `versus${differs ? " differs" : ""}` },
      el("div", {}, el("dt", {}, "Predicted"), predicted(category)),
      el("div", {}, el("dt", {}, "Filed as"), el("dd", { dir: "auto" }, ad.category ?? "–")),
    ),
    label && el("p", {}, el("span", { class: "chip good" }, `labelled ${label}`)),
  ];
}

function predicted(category) {
  if (!category) return el("dd", {}, "–");
  return el(
    "dd",
    {},
    el("span", { dir: "auto" }, category.label),
    el("span", { class: "hint" }, ` ${share(category.score)}`),
  );
}

const keyed = (text, key, onclick, kind = null) =>
  el("button", { type: "button", class: kind, onclick: () => onclick() }, text, el("kbd", {}, key));

/** A button whose words change: `name(text, shown)` keeps the node, and so its focus. */
function named(key, onclick, kind = null) {
  const words = el("span", { dir: "auto" });
  const node = keyed(words, key, onclick, kind);
  const name = (text, shown) => {
    words.textContent = text;
    node.hidden = !shown;
  };
  return { node, name };
}
