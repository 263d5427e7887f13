// The queue in the tab Ads: a person labels one ad after another, by the keyboard or by pointer.

import { adPath, call } from "/page/api.js";
import { Decisions } from "/page/decisions.js";
import { el, fill } from "/page/dom.js";
import { filtersSet, listHash, parametersOf } from "/page/filters.js";
import { plural } from "/page/format.js";
import { errorNotice, notice } from "/page/notices.js";
import { Pictures } from "/page/pictures.js";
import { queueHead } from "/page/queue-head.js";
import { MAX_CANDIDATES, stage } from "/page/queue-stage.js";
import { shortcuts } from "/page/shortcuts.js";

const PAGE = 200;
const MAX_ADS = 1_000;
const MAX_PAGES = 40; // of a rare filter, whose pages may be empty

export function queueView(out) {
  let state = { ads: [], at: 0, more: false, wanted: null, steps: [] };
  let stop = new AbortController();
  let pictures = new Pictures();
  let visible = false;
  let query = {};
  const full = new Map(); // the ads themselves, by their row
  const decisions = new Decisions(() => visible && drawState());
  const act = { accept, filed, correct: decide, skip, back, pick };
  const place = stage(act);
  const head = queueHead(undo);
  const message = el("div", { class: "queue-message", role: "status" });
  const failed = el("div", {});
  const body = el("div", { class: "queue" }, head.node, message, failed, place.node);
  const keys = shortcuts("Shortcuts for labelling", [
    { keys: ["a"], shown: ["A"], text: "Accept the predicted category", act: accept },
    { keys: ["f"], shown: ["F"], text: "The seller's category is right", act: filed },
    {
      keys: Array.from({ length: MAX_CANDIDATES }, (_, index) => String(index + 1)),
      shown: ["1", "…", "9"],
      text: "One of the predicted labels is right",
      act: (key) => pick(Number(key) - 1),
    },
    {
      keys: ["c"],
      shown: ["C"],
      text: "Type another category; Enter gives it",
      act: () => place.correct(),
    },
    { keys: ["s", "ArrowRight"], shown: ["S", "→"], text: "Skip: the next ad", act: skip },
    { keys: ["ArrowLeft"], shown: ["←"], text: "Back to the ad before", act: back },
    { keys: ["z"], shown: ["Z"], text: "Undo the last answer", act: undo },
  ]);
  head.tools.append(keys.button);

  const current = () => state.ads[state.at];

  function accept() {
    const label = current()?.predictions.category?.label;
    if (label) decide(label);
  }

  function filed() {
    if (current()?.category) decide(current().category);
  }

  function pick(index) {
    const label = full.get(current())?.predictions.category?.details.top?.[index]?.[0];
    if (label) decide(label);
  }

  function decide(label) {
    const ad = current();
    const by = head.by.value.trim();
    if (!ad) return;
    if (!by) {
      say("Enter your name first: it is stored with each label.");
      head.by.focus();
      return;
    }
    decisions.undo(ad); // a second answer about the same ad replaces the first
    decisions.decide(ad, label, by);
    const kind = label === ad.predictions.category?.label ? "accepted" : "corrected";
    state.steps = state.steps.filter((step) => step.ad !== ad);
    state.steps.push({ ad, kind });
    move(1, `${kind === "accepted" ? "Accepted" : "Corrected to"} “${label}”.`);
  }

  function skip() {
    if (current()) move(1, "Skipped.");
  }

  function back() {
    if (state.at > 0) move(-1, "");
  }

  function undo() {
    const step = state.steps.pop();
    if (!step) return;
    state.at = state.ads.indexOf(step.ad);
    const undone = decisions.undo(step.ad);
    draw(
      undone
        ? "Undone."
        : `“${step.ad.labels.category}” is stored already: another answer replaces it.`,
    );
  }

  function move(by, text) {
    const focused = body.contains(document.activeElement);
    state.at = Math.max(0, Math.min(state.ads.length, state.at + by));
    draw(text);
    if (focused && current() && document.activeElement?.id !== "queue-by") keepFocus();
  }

  /** A button keeps the focus from ad to ad; the field of a category, and a hidden button, lose it. */
  function keepFocus() {
    const node = document.activeElement;
    if (node === document.body || node.id === "queue-label" || node.hidden) place.node.focus();
  }

  /** A message that is seen, and what only a screen reader needs. */
  function say(text, unseen = "") {
    fill(message, el("span", {}, text), el("span", { class: "unseen" }, ` ${unseen}`));
  }

  function draw(text = "") {
    const ad = current();
    pictures.release();
    pictures = new Pictures();
    drawState();
    place.node.hidden = !ad;
    if (!ad) {
      say(text);
      fill(failed, finished());
      return;
    }
    say(text, described(ad));
    place.draw(ad, pictures);
    readFull(ad);
    if (state.ads[state.at + 1]) readFull(state.ads[state.at + 1]);
  }

  function described(ad) {
    const category = ad.predictions.category?.label ?? "nothing";
    return `Ad ${state.at + 1}: predicted ${category}, filed as ${ad.category ?? "nothing"}.`;
  }

  function drawState() {
    head.draw(state, decisions.held);
    const [first] = decisions.failed;
    if (first)
      fill(
        failed,
        errorNotice(first.error, () => decisions.retry()),
      );
    else if (current()) fill(failed);
  }

  function finished() {
    if (!state.ads.length) return nothing(query);
    const node = notice(
      "All looked at",
      `${plural(state.ads.length, "ad")}. The labels are used in the next training.`,
    );
    const again = el("button", { type: "button", onclick: () => load() }, "Load newer ads");
    node.append(el("p", { class: "row" }, again));
    return node;
  }

  async function readFull(ad) {
    const { signal } = stop;
    try {
      if (!full.has(ad)) {
        const { body: found } = await call(adPath(ad.catalog, ad.ad_id), { signal });
        full.set(ad, found);
      }
      if (ad === current() && visible) place.details(full.get(ad), pictures);
    } catch {
      // the row has enough to answer
    }
  }

  async function load() {
    stop.abort();
    stop = new AbortController();
    const { signal } = stop;
    const wanted = JSON.stringify(parametersOf(query));
    state = { ads: [], at: 0, more: true, wanted, steps: [] };
    full.clear();
    fill(out, el("p", { class: "card empty" }, "Loading the ads to label"));
    try {
      let cursor = null;
      for (let page = 0; page < MAX_PAGES && state.ads.length < MAX_ADS; page += 1) {
        const parameters = { ...parametersOf(query), limit: PAGE, cursor };
        const { body: found } = await call("/v1/ads", { query: parameters, signal });
        const first = state.ads.length === 0;
        state.ads.push(...found.ads);
        cursor = found.next;
        state.more = cursor !== null;
        if (first && state.ads.length) begin();
        else if (visible) drawState();
        if (!cursor) break;
      }
      if (!state.ads.length) begin();
    } catch (error) {
      if (!signal.aborted) fill(out, errorNotice(error, load));
    }
  }

  function begin() {
    fill(out, body);
    draw();
  }

  return {
    show(next) {
      query = next;
      if (!visible) keys.start();
      visible = true;
      const same = state.wanted === JSON.stringify(parametersOf(query));
      if (same && state.ads.length) begin();
      else load();
    },
    hide() {
      if (!visible) return;
      visible = false;
      keys.stop();
      decisions.flush();
      stop.abort();
    },
  };
}

function nothing(query) {
  return el(
    "p",
    { class: "card empty" },
    filtersSet(query) ? "No scored ad matches these filters. " : "No ad is scored yet. ",
    filtersSet(query)
      ? el("a", { href: listHash("queue", {}) }, "Clear the filters")
      : el("a", { href: "#/look" }, "Score a photo"),
    ".",
  );
}
