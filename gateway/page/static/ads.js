// The tab Ads: lists of ads and failures, by page; the hash has the list, its filters and the page.

import { call, photoPath } from "/page/api.js";
import { el, fill, link } from "/page/dom.js";
import { moment, share, shortId } from "/page/format.js";
import { errorNotice } from "/page/notices.js";
import { Pictures } from "/page/pictures.js";
import { reason } from "/page/reasons.js";
import { adHash, go, hashOf } from "/page/route.js";

const PAGE = 25;
const STATUSES = ["received", "scored", "unscored", "no_photos", "deleted"];
const LISTS = {
  ads: { path: "/v1/ads", rows: (body, pictures) => body.ads.map((ad) => adRow(ad, pictures)) },
  failures: { path: "/v1/failures", rows: (body) => body.failures.map(failureRow) },
};

export function adsView(panel) {
  const filters = el("form", { class: "filters" });
  const out = el("div", {});
  let pictures = new Pictures();
  let stop = new AbortController();
  fill(panel, filters, out);

  async function show({ query }) {
    stop.abort();
    stop = new AbortController();
    const { signal } = stop;
    const list = query.list === "failures" ? "failures" : "ads";
    drawFilters(filters, list, query);
    out.setAttribute("aria-busy", "true");
    try {
      const parameters = {
        limit: PAGE,
        catalog: query.catalog,
        status: list === "ads" ? query.status : "",
        cursor: query.cursor,
      };
      const { body } = await call(LISTS[list].path, { query: parameters, signal });
      pictures.release();
      pictures = new Pictures();
      fill(out, listed(list, body, query, pictures));
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

  return { show, hide: () => stop.abort() };
}

function drawFilters(form, list, query) {
  if (form.contains(document.activeElement) && form.dataset.list === list) return; // don't replace a focused field
  form.dataset.list = list;
  const catalog = el("input", {
    id: "by-catalog",
    value: query.catalog ?? "",
    placeholder: "any",
    autocomplete: "off",
  });
  const options = [["", "any"], ...STATUSES.map((name) => [name, name.replace("_", " ")])];
  const status = el(
    "select",
    { id: "by-status" },
    options.map(([value, text]) =>
      el("option", { value, selected: value === (query.status ?? "") }, text),
    ),
  );
  const apply = (event) => {
    event?.preventDefault();
    go(
      hashOf("ads", [], {
        list: list === "ads" ? "" : list,
        catalog: catalog.value.trim(),
        status: list === "ads" ? status.value : "",
      }),
    );
  };
  form.onsubmit = apply;
  status.addEventListener("change", apply);
  const named = (name, text) =>
    el(
      "a",
      {
        href: hashOf("ads", [], { list: name === "ads" ? "" : name, catalog: query.catalog }),
        "aria-current": name === list ? "page" : null,
      },
      text,
    );
  fill(
    form,
    el(
      "nav",
      { class: "lists", "aria-label": "Lists" },
      named("ads", "Ads"),
      named("failures", "Failures"),
    ),
    el("span", { class: "by" }, el("label", { for: "by-catalog" }, "Catalog"), catalog),
    list === "ads" &&
      el("span", { class: "by" }, el("label", { for: "by-status" }, "Status"), status),
    el("button", { type: "submit" }, "Filter"),
  );
}

function listed(list, body, query, pictures) {
  const rows = LISTS[list].rows(body, pictures);
  if (!rows.length && !body.next) return el("p", { class: "card empty" }, nothing(list, query));
  const next = body.next && hashOf("ads", [], { ...query, cursor: body.next });
  const first = query.cursor && hashOf("ads", [], { ...query, cursor: "" });
  return [
    rows.length
      ? el(
          "ul",
          { class: `card list ${list}`, "aria-label": list === "ads" ? "Ads" : "Failures" },
          rows,
        )
      : el("p", { class: "card empty" }, "No match on this page; older rows may match."),
    el(
      "nav",
      { class: "paging row", "aria-label": "Pages" },
      first && el("a", { class: "button", href: first }, "First page"),
      next
        ? el("a", { class: "button", href: next, rel: "next" }, "Next page")
        : el("span", { class: "hint" }, "This is the last page."),
    ),
  ];
}

function nothing(list, query) {
  if (query.catalog || query.status) return "No matches. Choose another catalog or status.";
  return list === "ads"
    ? "No ads yet. Drop a photo in the tab Score, or post an ad to /v1/ads."
    : "No failures.";
}

function adRow(ad, pictures) {
  const box = el("span", { class: "thumb" });
  if (ad.sha256) box.append(pictures.show(photoPath(ad.sha256), ""));
  const category = ad.predictions.category;
  const others = Object.entries(ad.predictions).filter(([task]) => task !== "category");
  return el(
    "li",
    {},
    el(
      "a",
      { href: adHash(ad.catalog, ad.ad_id) },
      box,
      el(
        "span",
        { class: "predicted" },
        category ? el("strong", {}, category.label) : el("span", { class: "hint" }, "no category"),
        category && el("span", { class: "hint" }, share(category.score)),
        others.map(([task, one]) => el("span", { class: "hint" }, `${task}: ${one.label}`)),
      ),
      el(
        "span",
        { class: "title" },
        ad.title || el("span", { class: "hint" }, "no title"),
        ad.category && el("span", { class: "hint" }, ` seller's category: ${ad.category}`),
      ),
      el("span", { class: "mono id" }, `${ad.catalog}/${ad.ad_id}`),
      el("span", { class: `chip ${chip(ad.status)}` }, ad.status.replace("_", " ")),
      el("span", { class: "when hint" }, moment(ad.received_at)),
    ),
  );
}

const chip = (status) => ({ scored: "good", unscored: "bad", received: "busy" })[status] ?? "";

function failureRow(failure) {
  const { what, todo } = reason(failure.reason);
  const href = failure.catalog && failure.ad_id ? adHash(failure.catalog, failure.ad_id) : null;
  const inside = [
    el("span", { class: "what" }, el("strong", {}, what), " ", el("code", {}, failure.reason)),
    el("span", { class: "detail" }, failure.detail),
    el("span", { class: "hint todo" }, todo),
    el(
      "span",
      { class: "mono id" },
      href ? `${failure.catalog}/${failure.ad_id}` : failure.subject,
      failure.url &&
        failure.url !== failure.subject &&
        el("span", { class: "hint" }, ` ${failure.url}`),
    ),
    el("span", { class: "when hint" }, moment(failure.failed_at)),
  ];
  const body = href
    ? el("a", { class: "inside", href }, inside)
    : el("span", { class: "inside" }, inside);
  const by = link(shortId(failure.run.id), failure.run.url, {
    class: "mono",
    title: failure.run.id,
  });
  return el("li", {}, body, el("span", { class: "run hint" }, "run ", by));
}
