// Masks of the goods over an ad's photos, and the photos cut out: two switches, and keys for both.

import { bytesOf, call, photoPath } from "/page/api.js";
import { el } from "/page/dom.js";
import { shortcuts } from "/page/shortcuts.js";

const FIRST = 48; // COCO's text: six bits in each character, from this code on
const BITS = 5;
const SIGN = 16;
const MORE = 32;
const OUTSIDE = [8, 12, 20, 176]; // red, green, blue, opacity
const EDGE = [255, 196, 0, 255];

const segmentsPath = (sha256) => `${photoPath(sha256)}/segments`;
const cutoutPath = (sha256) => `${photoPath(sha256)}/cutout`;

/** The runs of COCO's compressed text: outside, inside, outside, … */
export function runsOf(text) {
  const runs = [];
  let value = 0;
  let shift = 0;
  for (const character of text) {
    const code = character.codePointAt(0) - FIRST;
    value |= (code & (MORE - 1)) << shift;
    shift += BITS;
    if (code & MORE) continue;
    if (code & SIGN) value |= -1 << shift;
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
    value = 0;
    shift = 0;
  }
  return runs;
}

/** One byte for each pixel, row by row; 1 inside. The runs are of columns. */
export function pixelsOf({ size: [height, width], counts }) {
  const inside = new Uint8Array(height * width);
  let at = 0;
  runsOf(counts).forEach((run, index) => {
    for (let end = at + run; at < end; at += 1) {
      if (index % 2) inside[(at % height) * width + Math.floor(at / height)] = 1;
    }
  });
  return inside;
}

/** A canvas that darkens what is outside the mask, with a bright edge. */
function drawn(found) {
  const [height, width] = found.size;
  const inside = pixelsOf(found);
  const canvas = el("canvas", { class: "mask", width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const at = (x, y) => x >= 0 && y >= 0 && x < width && y < height && inside[y * width + x] === 1;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const here = at(x, y);
      const edge = here && !(at(x - 1, y) && at(x + 1, y) && at(x, y - 1) && at(x, y + 1));
      if (edge) image.data.set(EDGE, 4 * (y * width + x));
      else if (!here) image.data.set(OUTSIDE, 4 * (y * width + x));
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/**
 * The switches of an ad's photos; null if no task answered masks. `boxes`: the element of each
 * photo that is shown, by SHA-256. `signal`: aborted when the view is replaced.
 */
export function maskSwitches(ad, boxes, pictures, signal) {
  const photos = ad.predictions.segments?.details?.photos ?? [];
  const shown = photos.filter(({ sha256, things }) => things > 0 && boxes.has(sha256));
  if (!shown.length) return null;
  const mask = new Switch("Mask", "m", shown, (photo) => showMask(photo, boxes));
  const cut = new Switch("Cut out", "c", shown, (photo) => showCutout(photo, boxes, pictures));
  mask.other = cut;
  cut.other = mask;
  const keys = shortcuts("Shortcuts for photos", [
    { keys: ["m"], shown: ["M"], text: "Show the masks of the goods", act: () => mask.press() },
    { keys: ["c"], shown: ["C"], text: "Show the goods cut out", act: () => cut.press() },
  ]);
  keys.start();
  signal.addEventListener("abort", keys.stop);
  return el("p", { class: "row masks" }, mask.button, cut.button, keys.button);
}

/** A switch for all photos. What it shows is loaded once. */
class Switch {
  constructor(text, key, photos, show) {
    this.photos = photos;
    this.show = show;
    this.nodes = null;
    this.other = null;
    this.button = el(
      "button",
      { type: "button", "aria-pressed": "false", onclick: () => this.toggle() },
      `${text} `,
      el("kbd", {}, key.toUpperCase()),
    );
  }

  get isOn() {
    return this.button.getAttribute("aria-pressed") === "true";
  }

  /** By a key: the view may have been drawn again, with switches of its own. */
  press() {
    if (this.button.isConnected) this.toggle();
  }

  toggle() {
    const on = !this.isOn;
    if (on && this.other.isOn) this.other.toggle();
    this.button.setAttribute("aria-pressed", String(on));
    this.nodes ??= this.photos.map((photo) => this.show(photo));
    for (const node of this.nodes) node.hidden = !on;
  }
}

function showMask({ sha256 }, boxes) {
  const node = el("span", { class: "layer", "aria-hidden": "true" });
  boxes.get(sha256).append(node);
  call(segmentsPath(sha256))
    .then(({ body }) => node.append(drawn(body)))
    .catch(() => node.classList.add("missing"));
  return node;
}

function showCutout({ sha256, position }, boxes, pictures) {
  const name = `Photo ${position + 1}, cut out`;
  const file = `${sha256.slice(0, 12)}.png`;
  const save = el("button", { type: "button", class: "save" }, "Save PNG");
  save.addEventListener("click", () => download(`${cutoutPath(sha256)}?format=png`, file));
  const node = el("div", { class: "cutout" }, pictures.show(cutoutPath(sha256), name), save);
  boxes.get(sha256).append(node);
  return node;
}

/** Through a link of its own: the API's key is in a header, which a plain link would lack. */
async function download(path, name) {
  const url = URL.createObjectURL(await bytesOf(path));
  const link = el("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/**
 * The goods of an ad's best photo, cut out; null if it has none. The best one is the task
 * quality's, if it has goods and is not blocked, else the one with the most certain mask.
 */
export function cover(ad, pictures) {
  const found = ad.predictions.segments?.details;
  if (!found?.cover?.things) return null;
  const blocked = new Set(
    (ad.predictions.moderation?.details?.photos ?? [])
      .filter(({ verdict }) => verdict === "block")
      .map(({ sha256 }) => sha256),
  );
  const usable = found.photos.filter(({ sha256, things }) => things > 0 && !blocked.has(sha256));
  const best = ad.predictions.quality?.details?.best?.sha256;
  const wanted = [best, found.cover.sha256];
  const chosen = wanted.find((one) => usable.some(({ sha256 }) => sha256 === one));
  const sha256 = chosen ?? usable[0]?.sha256;
  if (!sha256) return null;
  return pictures.show(`${cutoutPath(sha256)}?trimmed=1`, "The goods, cut out", {
    class: "ad-cover",
  });
}
