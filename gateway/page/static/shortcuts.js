// Keyboard shortcuts of a view: single keys that act while no field has the focus, and their list.

import { el } from "/page/dom.js";

const OFF = "lalafo-shortcuts-off";

/**
 * `keys`: [{keys, shown, text, act}], where `keys` are values of KeyboardEvent.key. Returns
 * {start, stop, help, button}. A person can turn them off: someone who speaks to the browser would
 * press keys unawares (WCAG 2.1.4).
 */
export function shortcuts(title, keys) {
  const dialog = helpDialog(title, keys);
  const listener = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]") || inField(event.target)) return;
    if (event.key === "?") help();
    else if (isOff()) return;
    else if (!press(event.key)) return;
    event.preventDefault();
  };
  const press = (key) => {
    const name = key.length === 1 ? key.toLowerCase() : key;
    const found = keys.find((one) => one.keys.includes(name));
    found?.act(name);
    return found !== undefined;
  };
  const help = () => {
    if (!dialog.isConnected) document.body.append(dialog);
    dialog.showModal();
  };
  const button = el(
    "button",
    { type: "button", class: "quiet", onclick: help, "aria-haspopup": "dialog" },
    "Shortcuts ",
    el("kbd", {}, "?"),
  );
  return {
    start: () => document.addEventListener("keydown", listener),
    stop: () => document.removeEventListener("keydown", listener),
    button,
  };
}

const isOff = () => sessionStorage.getItem(OFF) === "1";

function inField(node) {
  if (!(node instanceof Element)) return false;
  return node.closest("input:not([type=checkbox]), select, textarea, [contenteditable]") !== null;
}

function helpDialog(title, keys) {
  const on = el("input", {
    id: "shortcuts-on",
    type: "checkbox",
    checked: !isOff(),
    onchange: (event) => sessionStorage.setItem(OFF, event.target.checked ? "0" : "1"),
  });
  const rows = [...keys, { shown: ["?"], text: "Show this list" }].map(({ shown, text }) =>
    el(
      "tr",
      {},
      el(
        "th",
        { scope: "row" },
        shown.map((key) => [el("kbd", {}, key), " "]),
      ),
      el("td", {}, text),
    ),
  );
  const dialog = el(
    "dialog",
    { class: "shortcuts", "aria-labelledby": "shortcuts-title" },
    el("h2", { id: "shortcuts-title" }, title),
    el("table", {}, el("tbody", {}, rows)),
    el("p", { class: "row check" }, on, el("label", { for: on.id }, "Single keys act in this tab")),
    el(
      "form",
      { method: "dialog", class: "row end" },
      el("button", { type: "submit", class: "main" }, "Close"),
    ),
  );
  return dialog;
}
