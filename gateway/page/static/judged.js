// What tasks say about single photos: which is blocked, which is best, what is wrong with it.

import { el } from "/page/dom.js";
import { share } from "/page/format.js";

const KINDS_OF_SCORE = [
  { key: "quality", name: "Quality" },
  { key: "nudity", name: "Nudity" },
  { key: "area", name: "Share of goods" },
  { key: "score", name: "Score" },
];
const KINDS = { allow: "good", review: "busy", block: "bad" };

/** Whether moderation blocks one of an ad's photos; of a list too, which has no details. */
export const isBlocked = (ad) => ad.predictions?.moderation?.label === "block";

/** What tasks say about each photo: a map from SHA-256 to {verdict, quality, flags, best, …}. */
export function judgedPhotos(ad) {
  const found = new Map();
  for (const { details } of Object.values(ad.predictions)) {
    if (!ofPhotos(details)) continue;
    for (const photo of details.photos) {
      const best = details.best?.sha256 === photo.sha256 ? { best: true } : {};
      found.set(photo.sha256, { ...found.get(photo.sha256), ...photo, ...best });
    }
  }
  return found;
}

/** Whether a task's details have a judgement of each photo. */
export const ofPhotos = (details) =>
  Array.isArray(details?.photos) && details.photos.every((photo) => photo?.sha256);

/** In place of a blocked photo: `show()` makes the picture, once the button is pressed. */
export function curtain(name, show) {
  const button = el("button", { type: "button" }, "Show it");
  const node = el(
    "div",
    { class: "curtain" },
    el("p", {}, el("strong", {}, `${name} is hidden`), ": moderation blocks it."),
    button,
  );
  button.addEventListener("click", () => node.replaceWith(show()));
  return node;
}

/** In place of a thumbnail, within a link. */
export const hiddenThumb = () =>
  el("span", { class: "hidden-thumb", title: "Hidden: moderation blocks it" }, "hidden");

/** Chips of what is known about a photo. */
export function photoChips({ best, verdict, flags = [] }) {
  return [
    best && el("span", { class: "chip good" }, "show first"),
    verdict && verdict !== "allow" && chip(verdict),
    flags.map((flag) => el("span", { class: "chip" }, flag.replaceAll("_", " "))),
  ];
}

const chip = (verdict) => el("span", { class: `chip ${KINDS[verdict] ?? ""}` }, verdict);

/** The judgement of each photo of a task's details, as a list; and the keys that it draws. */
export function photoList(details, ad) {
  const kind = KINDS_OF_SCORE.find(({ key }) => details.photos[0]?.[key] !== undefined);
  const places = new Map(ad.photos.map((photo) => [photo.sha256, photo.position]).reverse());
  const rows = details.photos.map((photo) => {
    const position = places.get(photo.sha256) ?? photo.position ?? 0;
    const best = details.best?.sha256 === photo.sha256;
    const score = photo[kind.key];
    return el(
      "li",
      {},
      el("span", { class: "name" }, `Photo ${position + 1}`),
      el(
        "span",
        { class: "groove", "aria-hidden": "true" },
        el("span", { class: "fill", style: { width: `${(score ?? 0) * 100}%` } }),
      ),
      el("span", { class: "value" }, share(score)),
      el(
        "span",
        { class: "chips" },
        photo.verdict === "allow" && chip("allow"),
        photoChips({ ...photo, best }),
      ),
    );
  });
  const what = kind.name;
  return el(
    "div",
    {},
    el("p", { class: "hint" }, `${what} of each photo`),
    el("ul", { class: "bars judged", "aria-label": `${what} of each photo` }, rows),
  );
}
