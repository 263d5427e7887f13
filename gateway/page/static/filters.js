// The filters of the tab Ads. The hash holds them, so a view can be shared and the back button works.

import { el, fill } from "/page/dom.js";
import { knownLabels, liveRelease } from "/page/labels.js";
import { REASON_CODES } from "/page/reasons.js";
import { go, hashOf } from "/page/route.js";
import { localDay, startOf } from "/page/times.js";

const ANY = ["", "any"];
const STATUSES = ["scored", "unscored", "no_photos", "received", "deleted"];
const LISTS = [
  ["ads", "All ads"],
  ["queue", "Label ads"],
  ["failures", "Failures"],
];
const WIDE = "(min-width: 861px)";
const yesNo = (yes, no) => [ANY, ["true", yes], ["false", no]];

/** Filters by their name in the hash: {title, options} or {title, type}. */
const FIELDS = {
  catalog: { title: "Catalog", type: "text" },
  filed: { title: "Filed as", type: "text", list: true },
  label: { title: "Predicted", labels: true },
  agrees: { title: "Filed and predicted", options: yesNo("agree", "differ") },
  max_score: {
    title: "Score",
    options: [ANY, ...["0.5", "0.7", "0.9"].map((v) => [v, `at most ${Number(v) * 100} %`])],
  },
  status: { title: "Status", options: [ANY, ...STATUSES.map((s) => [s, s.replace("_", " ")])] },
  failed: { title: "Photos", options: yesNo("some failed", "none failed") },
  labelled: { title: "Labelled by a person", options: yesNo("yes", "no") },
  reason: { title: "Reason", options: [ANY, ...REASON_CODES] },
  from: { title: "From", type: "date" },
  to: { title: "To", type: "date" },
};
const ADS = "catalog filed label agrees max_score status failed labelled from to".split(" ");
const OF = {
  ads: ADS,
  queue: ADS.filter((name) => name !== "status"),
  failures: ["catalog", "reason", "from", "to"],
};
const QUICK = {
  ads: [
    ["Filed ≠ predicted", { agrees: "false" }],
    ["Low score", { max_score: "0.7" }],
    ["Photos failed", { failed: "true" }],
    ["Today", { from: "today" }],
  ],
  queue: [
    ["Filed ≠ predicted", { agrees: "false" }],
    ["Low score", { max_score: "0.7" }],
    ["Not labelled yet", { labelled: "false" }],
  ],
  failures: [["Today", { from: "today" }]],
};

/** The list that a hash names. */
export const listOf = (query) => (query.list in OF ? query.list : "ads");

/** The hash of a list with these filters. */
export function listHash(list, query) {
  const kept = OF[list].map((name) => [name, query[name]]);
  return hashOf("ads", [], { list: list === "ads" ? "" : list, ...Object.fromEntries(kept) });
}

/** The parameters of the API for the filters in a hash. */
export function parametersOf(query) {
  const list = listOf(query);
  const { from, to, ...rest } = Object.fromEntries(OF[list].map((name) => [name, query[name]]));
  if (list === "queue") rest.status = "scored";
  return { ...rest, since: startOf(from), until: startOf(to, 1) };
}

export const filtersSet = (query) => OF[listOf(query)].filter((name) => query[name]).length;

/** Draw the form of a list. A field that has the focus is not replaced. */
export function drawFilters(form, query) {
  const list = listOf(query);
  if (form.contains(document.activeElement) && form.dataset.list === list) {
    update(form, list, query);
    return;
  }
  form.dataset.list = list;
  const fields = Object.fromEntries(OF[list].map((name) => [name, field(name, query)]));
  const apply = (event) => {
    event?.preventDefault();
    const chosen = Object.entries(fields).map(([name, { input }]) => [name, input.value.trim()]);
    go(listHash(list, Object.fromEntries(chosen)));
  };
  form.onsubmit = apply;
  form.onchange = apply;
  fill(
    form,
    el("div", { class: "row lists-row" }, lists(list, query), quick(list, query)),
    el(
      "details",
      { class: "more", open: list !== "queue" && window.matchMedia(WIDE).matches },
      el("summary", {}, "Filters", el("span", { class: "set hint" }, setText(query))),
      el(
        "div",
        { class: "fields" },
        Object.values(fields).map(({ node }) => node),
        el("span", { class: "by ends" }, clear(list, query)),
      ),
    ),
    el("button", { type: "submit", class: "unseen", tabindex: -1 }, "Filter"),
  );
  if (fields.label) offerLabels(fields, query);
}

const setText = (query) => (filtersSet(query) ? ` ${filtersSet(query)} set` : "");

/** After a change by the form itself: the links follow, and fields keep the focus. */
function update(form, list, query) {
  for (const name of OF[list]) {
    const input = form.querySelector(`#by-${name}`);
    if (input !== document.activeElement) input.value = query[name] ?? "";
  }
  fill(form.querySelector(".lists-row"), lists(list, query), quick(list, query));
  fill(form.querySelector(".ends"), clear(list, query));
  form.querySelector(".set").textContent = setText(query);
}

function lists(list, query) {
  return el(
    "nav",
    { class: "lists", "aria-label": "Lists" },
    LISTS.map(([name, text]) =>
      el("a", { href: listHash(name, query), "aria-current": name === list ? "page" : null }, text),
    ),
  );
}

/** Links that set one filter, or remove it where it is set. */
function quick(list, query) {
  const link = ([text, filter]) => {
    const [[name, value]] = Object.entries(filter);
    const wanted = value === "today" ? localDay() : value;
    const on = query[name] === wanted;
    const href = listHash(list, { ...query, [name]: on ? "" : wanted });
    return el("a", { class: "pick", href, "aria-current": on ? "true" : null }, text);
  };
  return el("nav", { class: "quick", "aria-label": "Frequent filters" }, QUICK[list].map(link));
}

const clear = (list, query) =>
  filtersSet(query) > 0 && el("a", { href: listHash(list, {}) }, "Clear filters");

function field(name, query) {
  const { title, options, type, labels } = FIELDS[name];
  const id = `by-${name}`;
  const value = query[name] ?? "";
  const input =
    options || labels
      ? el("select", { id }, (options ?? [ANY]).map(option(value)))
      : el("input", { id, type, value, placeholder: "any", autocomplete: "off" });
  const node = el("span", { class: "by" }, el("label", { for: id }, title), input);
  return { node, input };
}

const option =
  (chosen) =>
  ([value, text]) =>
    el("option", { value, selected: value === chosen }, text);

/** The labels of the live release, in the fields where one is chosen. */
async function offerLabels(fields, query) {
  const list = el("datalist", { id: "filed-labels" });
  fields.filed.input.setAttribute("list", list.id);
  fields.filed.node.append(list);
  try {
    await liveRelease();
  } catch {
    // the labels that were seen are offered
  }
  const labels = knownLabels();
  const chosen = query.label ?? "";
  if (chosen && !labels.includes(chosen)) labels.unshift(chosen);
  fill(fields.label.input, [ANY, ...labels.map((label) => [label, label])].map(option(chosen)));
  fill(
    list,
    labels.map((value) => el("option", { value })),
  );
}
