// The tab Ads: lists of ads and failures by page, and the queue; the hash has all that is shown.

import { call } from "/page/api.js";
import { el, fill } from "/page/dom.js";
import { drawFilters, filtersSet, listOf, parametersOf } from "/page/filters.js";
import { adList, failureList } from "/page/lists.js";
import { errorNotice } from "/page/notices.js";
import { Pictures } from "/page/pictures.js";
import { queueView } from "/page/queue.js";
import { hashOf } from "/page/route.js";

const PAGE = 25;
const PAGES_LOOKED_AT = 8; // at once, where a page of a rare filter is empty
const LISTS = {
  ads: { path: "/v1/ads", rows: "ads", draw: adList },
  failures: { path: "/v1/failures", rows: "failures", draw: failureList },
};

export function adsView(panel) {
  const filters = el("form", { class: "filters", role: "search", "aria-label": "Filters" });
  const out = el("div", {});
  const queue = queueView(out);
  let pictures = new Pictures();
  let stop = new AbortController();
  fill(panel, filters, out);

  async function show({ query }) {
    stop.abort();
    stop = new AbortController();
    const { signal } = stop;
    const list = listOf(query);
    drawFilters(filters, query);
    if (list === "queue") {
      queue.show(query);
      return;
    }
    queue.hide();
    out.setAttribute("aria-busy", "true");
    try {
      const found = await firstPage(list, query, signal);
      pictures.release();
      pictures = new Pictures();
      fill(out, listed(list, found, query, pictures));
    } catch (error) {
      if (!signal.aborted)
        fill(
          out,
          errorNotice(error, () => show({ query })),
        );
    } finally {
      if (!signal.aborted) out.removeAttribute("aria-busy");
    }
  }

  return {
    show,
    hide() {
      stop.abort();
      queue.hide();
    },
  };
}

/** The rows of a page. A filter may match no row of a page and many of the next: they are joined. */
async function firstPage(list, query, signal) {
  const rows = [];
  let { cursor } = query;
  for (let page = 0; page < PAGES_LOOKED_AT; page += 1) {
    const parameters = { ...parametersOf(query), limit: PAGE - rows.length, cursor };
    const { body } = await call(LISTS[list].path, { query: parameters, signal });
    rows.push(...body[LISTS[list].rows]);
    cursor = body.next;
    if (!cursor || rows.length >= PAGE) break;
  }
  return { rows, next: cursor };
}

function listed(list, { rows, next }, query, pictures) {
  if (!rows.length && !next && !query.cursor) return nothing(list, query);
  const nextHash = next && hashOf("ads", [], { ...query, cursor: next });
  const first = query.cursor && hashOf("ads", [], { ...query, cursor: "" });
  return [
    rows.length ? LISTS[list].draw(rows, pictures) : noneHere(next),
    el(
      "nav",
      { class: "paging row", "aria-label": "Pages" },
      first && el("a", { class: "button", href: first }, "First page"),
      next
        ? el(
            "a",
            { class: "button", href: nextHash, rel: "next" },
            rows.length ? "Next page" : "Look further",
          )
        : el("span", { class: "hint" }, "This is the last page."),
    ),
  ];
}

const noneHere = (next) =>
  el(
    "p",
    { class: "card empty" },
    next ? "No match so far; older rows may match." : "No further matches.",
  );

function nothing(list, query) {
  const clear = el("a", { href: hashOf("ads", [], { list: query.list }) }, "Clear the filters");
  if (filtersSet(query))
    return el("p", { class: "card empty" }, "Nothing matches these filters. ", clear, ".");
  return list === "ads"
    ? el(
        "p",
        { class: "card empty" },
        "No ads yet. ",
        el("a", { href: "#/look" }, "Score a photo"),
        ", or post an ad: ",
        el("a", { href: "/docs#post-v1-ads" }, "how to"),
        ".",
      )
    : el("p", { class: "card empty" }, "No failures: every event and photo could be used.");
}
