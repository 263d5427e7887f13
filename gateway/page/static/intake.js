// The left side of the tab Score: send photos as a new ad, or open an existing ad.

import { call } from "/page/api.js";
import { card, el, field, fill, link } from "/page/dom.js";
import { moment } from "/page/format.js";
import { adHash } from "/page/route.js";

const RECENT = 8;

/** Returns {node, refresh}; calls `drop(files, catalog)` and `pick(catalog, adId)`. */
export function intake({ drop, pick }) {
  const catalog = el("input", {
    id: "into",
    value: "page",
    required: true,
    maxlength: 200,
    autocomplete: "off",
  });
  const take = (files) => {
    const photos = [...files].filter((file) => file.size >= 0);
    if (photos.length) drop(photos, catalog.value.trim() || "page");
  };
  const recent = el("ul", { class: "recent" });
  const node = el(
    "div",
    { class: "intake" },
    dropZone(take),
    el(
      "div",
      { class: "card" },
      el("div", { class: "body" }, pickForm(pick), el("hr"), field("Catalog of new ads", catalog)),
    ),
    card("Recent ads", link("All", "#/ads"), recent),
  );
  return { node, refresh: () => refreshRecent(recent) };
}

function dropZone(take) {
  const filePicker = el("input", {
    type: "file",
    id: "choose",
    accept: "image/*",
    multiple: true,
    class: "unseen",
  });
  const camera = el("input", {
    type: "file",
    id: "take",
    accept: "image/*",
    capture: "environment",
    class: "unseen",
  });
  for (const input of [filePicker, camera]) {
    input.tabIndex = -1;
    input.setAttribute("aria-hidden", "true");
    input.addEventListener("change", () => {
      take([...input.files]);
      input.value = "";
    });
  }
  const zone = el(
    "section",
    { class: "drop", "aria-label": "Send photos" },
    el("p", { class: "lead" }, "Drop photos of one ad"),
    el(
      "p",
      { class: "row" },
      el(
        "button",
        { type: "button", class: "main", onclick: () => filePicker.click() },
        "Choose photos",
      ),
      el(
        "button",
        { type: "button", class: "camera", onclick: () => camera.click() },
        "Take a photo",
      ),
    ),
    el(
      "p",
      { class: "hint" },
      "JPEG, PNG, WebP, GIF, AVIF, HEIC, BMP or TIFF. Files are sent unchanged.",
    ),
    filePicker,
    camera,
  );
  listen(zone, take);
  return zone;
}

/** The whole window accepts dropped files: a drop beside the zone would open the file instead. */
function listen(zone, take) {
  const files = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  window.addEventListener("dragover", (event) => {
    if (!files(event)) return;
    event.preventDefault();
    zone.classList.add("over");
  });
  window.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) zone.classList.remove("over");
  });
  window.addEventListener("drop", (event) => {
    if (!files(event)) return;
    event.preventDefault();
    zone.classList.remove("over");
    if (zone.closest("[hidden]") === null) take(event.dataTransfer.files);
  });
  window.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length && zone.closest("[hidden]") === null)
      take(event.clipboardData.files);
  });
}

function pickForm(pick) {
  const input = el("input", {
    id: "pick",
    placeholder: "catalog/ad_id",
    required: true,
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    pattern: "[^\\/]+\\/.+",
    title: "A catalog, a slash, and the ad's id",
  });
  const submit = (event) => {
    event.preventDefault();
    const [catalog, ...rest] = input.value.trim().split("/");
    pick(catalog, rest.join("/"));
  };
  return el(
    "form",
    { class: "pick", onsubmit: submit },
    el("label", { for: "pick" }, "Open an existing ad"),
    el("p", { class: "row" }, input, el("button", { type: "submit" }, "Open")),
  );
}

async function refreshRecent(list) {
  try {
    const { body } = await call("/v1/ads", { query: { limit: RECENT } });
    fill(list, body.ads.map(recentRow));
    if (!body.ads.length) fill(list, el("li", { class: "hint" }, "No ads yet."));
  } catch {
    fill(list, el("li", { class: "hint" }, "Recent ads can't be loaded."));
  }
}

function recentRow(ad) {
  const text = ad.predictions.category?.label ?? ad.status.replace("_", " ");
  return el(
    "li",
    {},
    el(
      "a",
      { href: adHash(ad.catalog, ad.ad_id) },
      el("span", { class: "what" }, text),
      el("span", { class: "id mono" }, `${ad.catalog}/${ad.ad_id}`),
      el("span", { class: "when" }, moment(ad.received_at)),
    ),
  );
}
