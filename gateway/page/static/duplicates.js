// The ads that are the same as an ad: photos side by side, with what both show outlined in each.

import { adPath, call, photoPath } from "/page/api.js";
import { card, el, fill, svg } from "/page/dom.js";
import { number, share } from "/page/format.js";
import { curtain, isBlocked, judgedPhotos } from "/page/judged.js";
import { errorNotice } from "/page/notices.js";
import { adHash } from "/page/route.js";

const AT_ONCE = 10;
const TRIES = 5; // an ad is compared about a second after its commit
const PAUSE_MS = 1000;
const BY = "lalafo-given-by"; // as in feedback.js

const VERDICTS = {
  exact: ["the same photo", "good"],
  altered: ["the same photo, altered", "good"],
  same_thing: ["likely the same thing", "busy"],
};
const CHANGES = {
  mirrored: "mirrored",
  rotated: "rotated",
  cropped: "cropped",
  bordered: "with a border",
  placed: "in a collage or on a screen",
  covered: "covered by text or a mark",
  light: "lighter or darker",
  recoloured: "in other colours",
  resized: "of another size",
  encoded: "encoded again",
};
const OUTCOMES = {
  all_photos: "all photos",
  some_photos: "some photos",
  same_thing: "photos of likely the same thing",
  no_photo: "no photo",
};

/** A node that gets the card once duplicates are found; without any it stays empty. */
export function duplicateAds(ad, pictures, signal) {
  const node = el("div", { class: "duplicate-ads" });
  if (ad.status === "scored") load(node, ad, pictures, signal).catch(() => {});
  return node;
}

async function load(node, ad, pictures, signal) {
  const page = await decided(ad, signal);
  if (page === null || signal.aborted || page.duplicates.length === 0) return;
  const blocked = blockedPhotos(ad);
  const list = el("ul", { class: "pairs" });
  const more = el("button", { type: "button", class: "quiet" }, "More duplicates");
  let next = null;
  const show = (found) => {
    for (const other of found.duplicates) list.append(pair(ad, other, blocked, pictures));
    next = found.next;
    more.hidden = next === null;
  };
  more.addEventListener("click", async () => {
    more.disabled = true;
    try {
      show(await read(ad, signal, next));
    } finally {
      more.disabled = false;
    }
  });
  show(page);
  const group = page.group && `${page.group.ads} ads that are the same`;
  fill(node, card("Duplicates", group, list, el("p", { class: "row" }, more)));
}

/** The first page, once the ad was compared; null if nobody looks for duplicates. */
async function decided(ad, signal) {
  for (let tries = TRIES; ; tries -= 1) {
    const page = await read(ad, signal, null);
    if (page.state === "off") return null;
    if (page.state === "decided" || tries === 0) return page;
    await new Promise((done) => setTimeout(done, PAUSE_MS));
    if (signal.aborted) return null;
  }
}

async function read(ad, signal, cursor) {
  const path = `${adPath(ad.catalog, ad.ad_id)}/duplicates`;
  return (await call(path, { query: { limit: AT_ONCE, cursor }, signal })).body;
}

/** The SHA-256 of the ad's photos that moderation blocks. */
function blockedPhotos(ad) {
  const judged = [...judgedPhotos(ad)].filter(([, { verdict }]) => verdict === "block");
  return new Set(judged.map(([sha256]) => sha256));
}

function pair(ad, other, blocked, pictures) {
  const id = `${other.catalog}/${other.ad_id}`;
  const title = other.title || id;
  const [first, ...rest] = other.photos;
  const photos = (match) => sideBySide(match, other, blocked, pictures);
  return el(
    "li",
    { class: "pair", "aria-label": title },
    el(
      "header",
      {},
      el("a", { href: adHash(other.catalog, other.ad_id), dir: "auto" }, title),
      verdictChip(other.verdict),
      other.judged_by_person && el("span", { class: "chip" }, "judged by a person"),
      el("span", { class: "hint" }, `one ad: ${share(other.probability)}`),
    ),
    first ? photos(first) : el("p", { class: "hint" }, "No photos of both ads are the same."),
    rest.length > 0 && moreMatches(rest, photos),
    el("p", { class: "hint" }, [price(other), because(other)].filter(Boolean).join(" · ")),
    judgement(ad, other, title),
  );
}

const price = ({ price, currency }) =>
  price === null ? null : `${number(Number(price))} ${currency ?? ""}`.trim();

/** The outcomes of the comparisons that speak for one ad, the weightiest first. */
function because({ reasons }) {
  const found = reasons.filter(({ weight }) => weight > 0).sort((a, b) => b.weight - a.weight);
  const words = found.map(({ outcome }) => OUTCOMES[outcome] ?? outcome.replaceAll("_", " "));
  return words.length > 0 && `because of: ${words.join(", ")}`;
}

function verdictChip(verdict) {
  const [words, kind] = VERDICTS[verdict] ?? ["other evidence", ""];
  return el("span", { class: `chip ${kind}` }, words);
}

function moreMatches(matches, photos) {
  const words = matches.length === 1 ? "1 more photo" : `${matches.length} more photos`;
  const details = el("details", {}, el("summary", {}, words));
  // Drawn when it is opened: pictures in it would be loaded before.
  details.addEventListener("toggle", () => details.append(...matches.map(photos)), { once: true });
  return details;
}

/** This ad's photo at the left, the other's at the right, and what is known of the two. */
function sideBySide(match, other, blocked, pictures) {
  const mine = blocked.has(match.sha256);
  const names = [
    `Photo ${match.position + 1} of this ad`,
    `Photo ${match.other_position + 1} of the other ad`,
  ];
  const [words] = VERDICTS[match.verdict];
  const changes = match.changes.map((change) => CHANGES[change] ?? change);
  const how = changes.length > 0 ? `${words}: ${changes.join(", ")}` : words;
  return el(
    "div",
    { class: "match" },
    el(
      "div",
      { class: "sides" },
      side(names[0], match.sha256, match.region, mine, pictures),
      // A copy of a blocked photo is hidden too.
      side(names[1], match.other_sha256, match.other_region, mine || isBlocked(other), pictures),
    ),
    el("p", { class: "how" }, `${how}, ${share(match.probability)}`),
  );
}

function side(name, sha256, region, hidden, pictures) {
  const picture = () =>
    el(
      "div",
      { class: "outlined" },
      pictures.show(photoPath(sha256), name, { loading: "lazy" }),
      region && outline(region),
    );
  return el(
    "figure",
    {},
    hidden ? curtain(name, picture) : picture(),
    el("figcaption", { class: "hint" }, name),
  );
}

/** The corners are shares of the photo's sides, so the outline fits the picture at any size. */
function outline(region) {
  const points = region.map(([x, y]) => `${x * 100},${y * 100}`).join(" ");
  const line = (kind) =>
    svg("polygon", { class: kind, points, "vector-effect": "non-scaling-stroke" });
  return svg(
    "svg",
    { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
    line("under"),
    line("over"),
  );
}

/** Two buttons; what was said last is shown, and the other button takes it back. */
function judgement(ad, other, title) {
  const said = el("span", { role: "status", class: "hint" });
  const problem = el("div", {});
  const buttons = [
    [true, "Same"],
    [false, "Not the same"],
  ].map(([same, words]) =>
    el(
      "button",
      { type: "button", "aria-label": `${words}: ${title}`, onclick: () => send(same) },
      words,
    ),
  );
  async function send(same) {
    for (const button of buttons) button.disabled = true;
    const by = sessionStorage.getItem(BY);
    const json = { other: { catalog: other.catalog, ad_id: other.ad_id }, same };
    if (by) json.given_by = by;
    try {
      const path = `${adPath(ad.catalog, ad.ad_id)}/duplicates/feedback`;
      await call(path, { method: "POST", json });
      said.textContent = same ? "Saved: the same." : "Saved: not the same.";
      fill(problem);
    } catch (error) {
      fill(
        problem,
        errorNotice(error, () => send(same)),
      );
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  }
  return el("div", {}, el("p", { class: "row" }, ...buttons, said), problem);
}
