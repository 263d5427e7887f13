// Notices of errors: what happened, what to do, and a button to try again.

import { el } from "/page/dom.js";
import { bytes } from "/page/format.js";

const TITLES = {
  0: "No response",
  400: "The request is not valid",
  401: "API key required",
  403: "Not allowed with this key",
  404: "Not found",
  409: "Conflict with another request",
  413: "Too large",
  415: "Unsupported photo format",
  422: "The request is not valid",
  429: "Too many requests",
  503: "Service unavailable",
};

/** What to do about an error, in a sentence; empty where the API's message says it. */
function advice(error) {
  if (error.status === 401)
    return "Press Key above and enter a valid key. lalafo keys make creates one.";
  if (error.status === 403)
    return "Press Key above and enter a key that has the required scope and catalog.";
  if (error.status === 413) return tooLarge(error);
  if (error.status >= 500 && error.status !== 503) return "See the gateway's log for the cause.";
  return "";
}

function tooLarge({ kind, problem }) {
  const max = problem.allowed;
  if (kind === "photo_too_large" && Number.isFinite(max)) {
    return `A photo may have at most ${bytes(max)}. Save a smaller file and send it again.`;
  }
  return Number.isFinite(max)
    ? `A request may have at most ${bytes(max)}. Send fewer or smaller photos.`
    : "Send fewer or smaller photos.";
}

/**
 * A box with an error. With `retry` it has a button; if the response has a Retry-After, it retries
 * automatically after that time.
 */
export function errorNotice(error, retry) {
  const known = error.status !== undefined;
  if (!known) console.error(error);
  const title = known
    ? (TITLES[error.status] ?? error.problem.title ?? "The request failed")
    : "Error in this page";
  const what = known
    ? error.message
    : `${error.message}. Reload the page; if the error remains, report it.`;
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
  const countdown = el("span", { class: "hint" });
  const row = el("p", { class: "row" }, button, countdown);
  let remaining = error.retryAfterS ?? 0;
  let timer = 0;
  const go = () => {
    clearInterval(timer);
    button.disabled = true;
    retry();
  };
  if (remaining > 0) {
    const update = () => {
      countdown.textContent = `automatically in ${Math.ceil(remaining)} s`;
    };
    update();
    timer = setInterval(() => {
      remaining -= 1;
      if (!row.isConnected) clearInterval(timer);
      else if (remaining <= 0) go();
      else update();
    }, 1000);
  }
  return row;
}

/** Whether the same request may succeed later: not if its content was refused. */
function mayWork({ status }) {
  return status === undefined || ![400, 409, 413, 415, 422].includes(status);
}

/** A box with a status; screen readers announce it. */
export function notice(title, text) {
  return el(
    "div",
    { class: "notice", role: "status" },
    el("strong", {}, title),
    el("span", {}, text),
  );
}
