// What the operator must know, above every view: the API's notices, such as that no release is live.

import { call } from "/page/api.js";
import { el, fill } from "/page/dom.js";
import { moment } from "/page/format.js";

const EVERY_MS = 60_000;
const AT_LEAST_MS = 10_000;
const HIDDEN = "lalafo-hidden-notices";
const RANK = ["error", "warning", "info"];
const WORDS = { error: "Error", warning: "Warning", info: "Note" };

/** Shows the notices in `node` and reads them again every minute; returns `refresh`. */
export function watchNotices(node) {
  let readAt = Number.NEGATIVE_INFINITY;
  let shown = "[]";

  async function refresh() {
    if (document.hidden || performance.now() - readAt < AT_LEAST_MS) return;
    readAt = performance.now();
    try {
      const { body } = await call("/v1/notices", { ask: false });
      draw(body.notices);
    } catch {
      // no key, a key of some catalogs only, or no response: the view itself reports it
    }
  }

  function draw(notices) {
    const hidden = hiddenNotices();
    const due = notices
      .filter((one) => one.severity === "error" || !hidden.includes(nameOf(one)))
      .sort((a, b) => RANK.indexOf(a.severity) - RANK.indexOf(b.severity));
    const text = JSON.stringify(due);
    if (text === shown) return; // an unchanged banner keeps its focus, and is not announced again
    shown = text;
    fill(
      node,
      due.map((one) => row(one, () => hide(one, notices))),
    );
    node.hidden = due.length === 0;
  }

  function hide(one, notices) {
    sessionStorage.setItem(HIDDEN, JSON.stringify([...hiddenNotices(), nameOf(one)]));
    draw(notices);
    document.getElementById("panels").focus();
  }

  setInterval(refresh, EVERY_MS);
  document.addEventListener("visibilitychange", refresh);
  return refresh;
}

function row(one, hide) {
  return el(
    "div",
    { class: `banner ${one.severity}`, "data-code": one.code },
    el("strong", {}, WORDS[one.severity] ?? WORDS.info),
    el(
      "p",
      { class: "text" },
      one.message,
      one.at && el("span", { class: "hint" }, ` ${moment(one.at)}`),
      one.action && el("span", { class: "action" }, action(one.action)),
    ),
    one.severity !== "error" &&
      el("button", { type: "button", class: "quiet", onclick: hide }, "Hide"),
  );
}

/** A command is shown as one; another action is a sentence. */
function action(text) {
  return /^(lalafo|make) /.test(text) ? ["Run ", el("code", {}, text)] : text;
}

const nameOf = (one) => `${one.code} ${one.message}`;

function hiddenNotices() {
  return JSON.parse(sessionStorage.getItem(HIDDEN) ?? "[]");
}
