// The categories that the live release can predict.

import { el, fill, link } from "/page/dom.js";
import { plural, shortId } from "/page/format.js";
import { liveRelease } from "/page/labels.js";
import { hashOf } from "/page/route.js";

const AT_FIRST = 60;

/** A card with the categories: {node, refresh}. Each leads to the ads that have it. */
export function categoriesCard() {
  const title = el("h2", {}, "What it can name");
  const source = el("span", { class: "hint" });
  const body = el("div", { class: "body" });
  const node = el(
    "section",
    { class: "card known", "aria-label": "Categories" },
    el("header", {}, title, source),
    body,
  );
  const refresh = async () => {
    try {
      draw(await liveRelease());
    } catch {
      node.hidden = true; // the recent ads report the error
    }
  };

  function draw(release) {
    node.hidden = false;
    const labels = release?.labels.category ?? [];
    title.textContent = labels.length
      ? `It knows ${plural(labels.length, "category", "categories")}`
      : "No categories yet";
    fill(
      source,
      release && [
        "release ",
        link(shortId(release.release.id, 34), release.release.url, {
          class: "mono",
          title: release.release.id,
        }),
      ],
    );
    fill(body, labels.length ? list(labels) : nothing(release));
  }
  return { node, refresh };
}

function list(labels) {
  const rest = labels.slice(AT_FIRST);
  return [
    el("ul", { class: "labels" }, labels.slice(0, AT_FIRST).map(chip)),
    rest.length > 0 &&
      el(
        "details",
        {},
        el("summary", {}, `${rest.length} more`),
        el("ul", { class: "labels" }, rest.map(chip)),
      ),
  ];
}

function chip(label) {
  return el("li", {}, link(label, hashOf("ads", [], { label }), { class: "chip", dir: "auto" }));
}

function nothing(release) {
  if (release) return el("p", { class: "hint" }, "The live release predicts no category.");
  return el(
    "p",
    { class: "hint" },
    "No release is live, so photos are stored and not scored. Run ",
    el("code", {}, "lalafo releases install starter"),
    " to install the one that is shipped.",
  );
}
