// Ways into the tab Score: photos, an address, samples, an existing ad, and the recent ads.

import { call, thumbnailPath } from "/page/api.js";
import { card, el, field, fill, link, svg } from "/page/dom.js";
import { clipboardPhotos, webAddress } from "/page/drop.js";
import { moment, share } from "/page/format.js";
import { hiddenThumb, isBlocked } from "/page/judged.js";
import { categoriesCard } from "/page/known.js";
import { liveRelease } from "/page/labels.js";
import { Pictures } from "/page/pictures.js";
import { adHash } from "/page/route.js";

const RECENT = 8;
const SAMPLES = ["chair", "bicycle", "guitar", "camera", "dress"];

/**
 * Returns {node, refresh, catalog, onlySearches}; calls `files(list)`, `address(url)`, `sample(name)` and
 * `pick(catalog, adId)`.
 */
export function intake(actions) {
  const catalog = el("input", {
    id: "into",
    value: "page",
    required: true,
    maxlength: 200,
    autocomplete: "off",
  });
  const recent = el("ul", { class: "recent" });
  const known = categoriesCard();
  const search = onlySearch();
  let pictures = new Pictures();
  const node = el(
    "div",
    { class: "intake" },
    dropZone(actions, search.node),
    samples(actions.sample),
    known.node,
    card("Recent ads", link("All ads", "#/ads"), recent),
    el(
      "section",
      { class: "card existing", "aria-label": "Open an existing ad" },
      el(
        "div",
        { class: "body" },
        pickForm(actions.pick),
        field("New ads go into the catalog", catalog),
      ),
    ),
  );
  const refresh = async () => {
    known.refresh();
    search.refresh();
    pictures.release();
    pictures = new Pictures();
    await refreshRecent(recent, pictures);
  };
  return {
    node,
    refresh,
    catalog: () => catalog.value.trim() || "page",
    onlySearches: search.chosen,
  };
}

/** A choice to search by a photo instead of sending an ad with it; hidden where nothing is found. */
function onlySearch() {
  const box = el("input", { type: "checkbox", id: "only-search" });
  const node = el("label", { class: "only-search", hidden: true }, box, " Only find similar ads");
  const refresh = async () => {
    const release = await liveRelease().catch(() => null);
    node.hidden = !release?.similar_ads;
  };
  return { node, refresh, chosen: () => !node.hidden && box.checked };
}

function dropZone({ files, address }, search) {
  const said = el("p", { class: "hint said", role: "status" });
  const picker = fileInput("choose", files, { multiple: true });
  const camera = fileInput("take", files, { capture: "environment" });
  return el(
    "section",
    { class: "drop", "aria-labelledby": "drop-title" },
    icon(),
    el("h2", { id: "drop-title", class: "lead" }, "Drop photos of one ad"),
    el("p", { class: "hint anywhere" }, "Anywhere on this page, or paste them with Ctrl+V."),
    el(
      "div",
      { class: "row ways" },
      el(
        "button",
        { type: "button", class: "main", onclick: () => picker.click() },
        "Choose photos",
      ),
      el(
        "button",
        { type: "button", class: "camera", onclick: () => camera.click() },
        "Take a photo",
      ),
      navigator.clipboard?.read &&
        el("button", { type: "button", onclick: () => paste(files, said) }, "Paste"),
    ),
    addressForm(address),
    search,
    el("p", { class: "hint formats" }, "JPEG, PNG, WebP, GIF, AVIF, HEIC, BMP or TIFF."),
    said,
    picker,
    camera,
  );
}

function fileInput(id, files, more) {
  const input = el("input", {
    type: "file",
    id,
    accept: "image/*",
    class: "unseen",
    tabindex: -1,
    "aria-hidden": "true",
    ...more,
  });
  input.addEventListener("change", () => {
    const chosen = [...input.files];
    input.value = "";
    if (chosen.length) files(chosen);
  });
  return input;
}

async function paste(files, said) {
  said.textContent = "";
  try {
    const photos = await clipboardPhotos();
    if (photos.length) files(photos);
    else said.textContent = "The clipboard holds no photo.";
  } catch {
    said.textContent = "The browser does not allow this button to paste. Press Ctrl+V instead.";
  }
}

function addressForm(address) {
  const input = el("input", {
    id: "address",
    type: "url",
    required: true,
    maxlength: 2000,
    placeholder: "https://…",
    autocomplete: "off",
  });
  const submit = (event) => {
    event.preventDefault();
    const url = webAddress(input.value);
    input.setCustomValidity(url ? "" : "An address that begins with http:// or https://");
    if (!url) input.reportValidity();
    else {
      address(url);
      input.value = "";
    }
  };
  input.addEventListener("input", () => input.setCustomValidity(""));
  return el(
    "form",
    { class: "address-form", onsubmit: submit, novalidate: true },
    el("label", { for: "address" }, "Or a photo's address"),
    el("div", { class: "row" }, input, el("button", { type: "submit" }, "Score")),
  );
}

function icon() {
  const draw = (d) => svg("path", { d });
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 48 48", width: 44, height: 44, "aria-hidden": "true" },
    draw("M6 15v-5a4 4 0 0 1 4-4h5M33 6h5a4 4 0 0 1 4 4v5M42 33v5a4 4 0 0 1-4 4h-5"),
    draw("M15 42h-5a4 4 0 0 1-4-4v-5M24 33V16M17 22l7-7 7 7"),
  );
}

function samples(sample) {
  const rows = SAMPLES.map((name) =>
    el(
      "li",
      {},
      el(
        "button",
        { type: "button", onclick: () => sample(name), "aria-label": `Score the sample: ${name}` },
        el("img", { src: `/page/samples/${name}.jpg`, alt: "", width: 96, height: 96 }),
      ),
    ),
  );
  return el(
    "section",
    { class: "samples", "aria-label": "Sample photos" },
    el("h2", {}, "Or try a sample"),
    el("ul", {}, rows),
  );
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
    el("div", { class: "row" }, input, el("button", { type: "submit" }, "Open")),
  );
}

async function refreshRecent(list, pictures) {
  try {
    const { body } = await call("/v1/ads", { query: { limit: RECENT } });
    fill(
      list,
      body.ads.map((ad) => recentRow(ad, pictures)),
    );
    if (!body.ads.length)
      fill(list, el("li", { class: "hint" }, "No ads yet. Drop a photo, or try a sample."));
  } catch {
    fill(list, el("li", { class: "hint" }, "Recent ads can't be loaded."));
  }
}

const UNSCORED = { received: "waiting", unscored: "no usable photo", no_photos: "no photos" };

function recentRow(ad, pictures) {
  const answer = ad.predictions.category;
  return el(
    "li",
    {},
    el(
      "a",
      { href: adHash(ad.catalog, ad.ad_id) },
      el(
        "span",
        { class: "thumb" },
        isBlocked(ad)
          ? hiddenThumb()
          : ad.sha256 && pictures.show(thumbnailPath(ad.sha256), "", { loading: "lazy" }),
      ),
      el(
        "span",
        { class: "what", dir: "auto" },
        answer ? answer.label : (UNSCORED[ad.status] ?? ad.status),
      ),
      el("span", { class: "when" }, answer ? share(answer.score) : ""),
      el("span", { class: "id", dir: "auto" }, ad.title || `${ad.catalog}/${ad.ad_id}`),
      el("span", { class: "unseen" }, moment(ad.received_at)),
    ),
  );
}
