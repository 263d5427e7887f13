// Errors as people read them: what happened, what to do, and a button that does it.

import { el } from "/page/dom.js";
import { bytes } from "/page/format.js";

const TITLES = {
  0: "Nobody answered",
  400: "The request was refused",
  401: "No valid key",
  403: "This key may not do that",
  404: "There is no such thing",
  409: "Somebody else was first",
  413: "Too large",
  415: "Not a photo that can be read",
  422: "The request was refused",
  429: "Too many requests",
  503: "Something is away",
};

/** What to do about an error, in a sentence; empty where the API's own words say it. */
function advice(error) {
  if (error.status === 401)
    return "Press Key above and give a valid one; lalafo keys make prints one.";
  if (error.status === 403)
    return "Press Key above for another one, or have one made with that scope.";
  if (error.status === 413) return tooLarge(error);
  if (error.status >= 500 && error.status !== 503) return "The gateway's log says what broke.";
  return "";
}

function tooLarge({ kind, problem }) {
  const most = problem.allowed;
  if (kind === "photo_too_large" && Number.isFinite(most)) {
    return `A photo may have ${bytes(most)} at most: save it smaller, and send it again.`;
  }
  return Number.isFinite(most)
    ? `At most ${bytes(most)} can be sent at once: send fewer photos, or smaller ones.`
    : "Send fewer photos, or smaller ones.";
}

/**
 * A box that tells an error. With `retry` it has a button; where the answer said when to come back,
 * it does so by itself after that long.
 */
export function errorNotice(error, retry) {
  const known = error.status !== undefined;
  if (!known) console.error(error);
  const title = known
    ? (TITLES[error.status] ?? error.problem.title ?? "It did not work")
    : "This page broke";
  const what = known ? error.message : `${error.message}. Reload the page; if it stays, report it.`;
  const box = el(
    "div",
    { class: "notice bad", role: "alert" },
    el("strong", {}, title),
    el("span", {}, [sentence(what), known && advice(error)].filter(Boolean).join(" ")),
  );
  if (retry && mayWork(error)) box.append(retryRow(error, retry));
  return box;
}

const sentence = (text) => (/[.!?…]$/.test(text) ? text : `${text}.`);

function retryRow(error, retry) {
  const button = el("button", { type: "button", onclick: () => go() }, "Try again");
  const told = el("span", { class: "hint" });
  const row = el("p", { class: "row" }, button, told);
  let left = error.retryAfterS ?? 0;
  let timer = 0;
  const go = () => {
    clearInterval(timer);
    button.disabled = true;
    retry();
  };
  if (left > 0) {
    const tell = () => {
      told.textContent = `by itself in ${Math.ceil(left)} s`;
    };
    tell();
    timer = setInterval(() => {
      left -= 1;
      if (!row.isConnected) clearInterval(timer);
      else if (left <= 0) go();
      else tell();
    }, 1000);
  }
  return row;
}

/** Whether the same request may do better: what was judged by its content won't. */
function mayWork({ status }) {
  return status === undefined || ![400, 409, 413, 415, 422].includes(status);
}

/** A box that tells how things are; screen readers hear it. */
export function notice(title, text) {
  return el(
    "div",
    { class: "notice", role: "status" },
    el("strong", {}, title),
    el("span", {}, text),
  );
}
