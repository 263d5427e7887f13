// An ad's photos with their statuses, and the regions that tasks found, drawn over the photos.

import { photoPath } from "/page/api.js";
import { card, el, fill } from "/page/dom.js";
import { plural, share } from "/page/format.js";
import { curtain, judgedPhotos, photoChips } from "/page/judged.js";
import { reason } from "/page/reasons.js";
import { whereSegmented } from "/page/segmented.js";

/** Returns {node, mark}: `mark(regions)` draws frames, `mark([])` removes them. */
export function photosCard(ad, pictures, signal) {
  const layers = new Map();
  const boxes = new Map(); // of the photos that are shown, by SHA-256
  const judged = judgedPhotos(ad);
  const said = (photo) => judged.get(photo.sha256) ?? {};
  // The best photo first; the others stay in the ad's order.
  const sorted = ad.photos.toSorted((a, b) => (said(b).best ?? 0) - (said(a).best ?? 0));
  const figures = sorted.map((photo) => figure(photo, said(photo), pictures, layers, boxes));
  const usable = ad.photos.filter((photo) => photo.status === "ok").length;
  const aside = ad.photos.length
    ? `${usable} of ${plural(ad.photos.length, "photo")} usable`
    : null;
  const none = el("p", { class: "hint" }, "The ad has no photos.");
  const switches = el("div", {});
  whereSegmented(ad, ({ maskSwitches }) => {
    fill(switches, maskSwitches(ad, boxes, pictures, signal));
  });
  const node = card(
    "Photos",
    aside,
    switches,
    figures.length ? el("div", { class: "photos" }, figures) : none,
  );
  const mark = (regions) => {
    for (const [position, layer] of layers) {
      fill(layer, regions.filter((region) => (region.position ?? 0) === position).map(frame));
    }
  };
  return { node, mark };
}

function figure(photo, said, pictures, layers, boxes) {
  const name = `Photo ${photo.position + 1}`;
  if (photo.status !== "ok") return placeholder(photo, name);
  const path = photo.image ?? photoPath(photo.sha256);
  const layer = el("span", { class: "layer", "aria-hidden": "true" });
  layers.set(photo.position, layer);
  const ratio = photo.width && photo.height ? `${photo.width} / ${photo.height}` : "4 / 3";
  const frameBox = el(
    "div",
    { class: "photo", style: { "aspect-ratio": ratio } },
    said.verdict === "block"
      ? curtain(name, () => pictures.show(path, name))
      : pictures.show(path, name),
    layer,
  );
  if (said.verdict !== "block") boxes.set(photo.sha256, frameBox);
  const size = photo.width ? `${photo.width} × ${photo.height}` : "";
  return el(
    "figure",
    {},
    frameBox,
    el(
      "figcaption",
      {},
      el("span", {}, name),
      photoChips(said),
      el("span", { class: "hint" }, size),
    ),
  );
}

function placeholder(photo, name) {
  if (photo.status === "waiting") {
    const why = el("p", { class: "why" }, el("span", {}, "Not processed yet"));
    return el("figure", { class: "trouble" }, why, el("figcaption", {}, el("span", {}, name)));
  }
  const { what, todo } = reason(photo.reason ?? "unknown");
  return el(
    "figure",
    { class: "trouble failed" },
    el(
      "div",
      { class: "why" },
      el("strong", {}, what),
      el("span", {}, todo),
      photo.detail && el("span", { class: "hint" }, photo.detail),
    ),
    el(
      "figcaption",
      {},
      el("span", {}, name),
      el("code", {}, photo.reason ?? ""),
      photo.url && el("span", { class: "hint address" }, photo.url),
    ),
  );
}

/** The frame of a region: its box is [x, y, width, height] in fractions of the photo's size. */
function frame(region) {
  const [x, y, width, height] = region.box.map((value) => `${value * 100}%`);
  return el(
    "span",
    { class: "region", style: { left: x, top: y, width, height } },
    el("span", { class: "tag" }, `${region.label} ${share(region.score)}`),
  );
}
