// The ads whose photos are most like an ad's, or a photo's: a grid from which one goes on to the next
// ad.

import { adPath, call, thumbnailPath } from "/page/api.js";
import { card, el, fill } from "/page/dom.js";
import { number } from "/page/format.js";
import { hiddenThumb, isBlocked } from "/page/judged.js";
import { liveRelease } from "/page/labels.js";
import { adHash } from "/page/route.js";

const AT_ONCE = 12;
const TRIES = 5; // an ad is found about a second after its commit
const PAUSE_MS = 1000;
const THUMB = 150;

/**
 * A node that gets the card once similar ads are found; it stays empty where no index is ready, or
 * nothing can be compared.
 */
export function similarAds(ad, pictures, signal) {
  const node = el("div", { class: "similar-ads" });
  if (ad.status === "scored") load(node, ad, pictures, signal).catch(() => {});
  return node;
}

async function load(node, ad, pictures, signal) {
  const release = await liveRelease();
  if (!release?.similar_ads) return;
  const page = await firstPage(ad, signal);
  if (page === null || signal.aborted) return;
  const next = (cursor) => read(ad, signal, cursor);
  fill(node, card("Similar ads", "by their photos", ...grid(page, next, pictures)));
}

/**
 * A card with the ads most like a photo, which is sent in no ad. `photo`: a file, or an address.
 * Throws CallError.
 */
export async function adsLike(photo, pictures, signal) {
  const query = { limit: AT_ONCE };
  const { body } =
    typeof photo === "string"
      ? await call("/v1/search", { method: "POST", json: { url: photo, ...query }, signal })
      : await call("/v1/search/photo", { method: "POST", photo, query, signal });
  const next = async (cursor) => {
    const json = { sha256: body.sha256, cursor, ...query };
    return (await call("/v1/search", { method: "POST", json, signal })).body;
  };
  return card("Similar ads", "by the photo; no ad was sent", ...grid(body, next, pictures));
}

/** The tiles of a page, and the button that adds the next one. */
function grid(page, following, pictures) {
  const list = el("ul", { class: "tiles" });
  const more = el("button", { type: "button", class: "quiet" }, "More like this");
  let next = null;
  const show = (found) => {
    for (const one of found.ads) list.append(tile(one, pictures));
    next = found.next;
    more.hidden = next === null || found.ads.length === 0;
  };
  more.addEventListener("click", async () => {
    more.disabled = true;
    try {
      show(await following(next));
    } catch {
      more.hidden = true; // another release is live by now: Reload shows its ads
    } finally {
      more.disabled = false;
    }
  });
  show(page);
  const none = el("p", { class: "hint" }, "There is no other ad with photos yet.");
  return list.children.length ? [list, el("p", { class: "row" }, more)] : [none];
}

/** The nearest ads; null if there is nothing to compare the ad by. */
async function firstPage(ad, signal) {
  for (let tries = TRIES; ; tries -= 1) {
    try {
      return await read(ad, signal, null);
    } catch (error) {
      if (signal.aborted || error.kind !== "not_indexed" || tries === 0) return null;
    }
    await new Promise((done) => setTimeout(done, PAUSE_MS));
    if (signal.aborted) return null;
  }
}

async function read(ad, signal, cursor) {
  const path = `${adPath(ad.catalog, ad.ad_id)}/similar`;
  return (await call(path, { query: { limit: AT_ONCE, cursor }, signal })).body;
}

function tile(ad, pictures) {
  const box = el("span", { class: "thumb" });
  if (ad.sha256 && isBlocked(ad)) box.append(hiddenThumb());
  else if (ad.sha256) {
    const size = { width: THUMB, height: THUMB, loading: "lazy" };
    box.append(pictures.show(thumbnailPath(ad.sha256), "", size));
  }
  const price = ad.price === null ? null : `${number(Number(ad.price))} ${ad.currency ?? ""}`;
  const category = ad.predictions.category?.label ?? ad.category;
  return el(
    "li",
    {},
    el(
      "a",
      { href: adHash(ad.catalog, ad.ad_id) },
      box,
      el("span", { class: "title", dir: "auto" }, ad.title || `${ad.catalog}/${ad.ad_id}`),
      el("span", { class: "hint" }, [price, category].filter(Boolean).join(" · ") || "no price"),
      el("span", { class: "hint" }, `similarity ${ad.similarity.toFixed(2)}`),
    ),
  );
}
