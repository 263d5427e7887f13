// An input with a list of known values (the combobox pattern of ARIA 1.2). Other values may be
// typed too. Arrow keys choose, Enter takes, Escape closes the list.

import { el, fill } from "/page/dom.js";

const SHOWN = 50;

/**
 * Returns {node, input}. `options()`: [{value, hint}], the likeliest first, read each time the list
 * opens. `attributes`: of the input; it needs an id.
 */
export function combobox({ options, attributes }) {
  const listId = `${attributes.id}-list`;
  const list = el("ul", {
    role: "listbox",
    id: listId,
    "aria-label": "Known labels",
    hidden: true,
  });
  const input = el("input", {
    role: "combobox",
    "aria-expanded": "false",
    "aria-controls": listId,
    "aria-autocomplete": "list",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    ...attributes,
  });
  let active = -1;

  function open() {
    const found = matching(options(), input.value);
    fill(list, found.map(option));
    active = -1;
    show(found.length > 0);
  }

  function option({ value, hint }, index) {
    return el(
      "li",
      {
        role: "option",
        id: `${listId}-${index}`,
        "aria-selected": "false",
        "data-value": value,
        // Before the input loses the focus, which closes the list.
        onpointerdown: (event) => {
          event.preventDefault();
          take(value);
        },
      },
      el("span", { dir: "auto" }, value),
      hint && el("span", { class: "hint" }, hint),
    );
  }

  function show(visible) {
    list.hidden = !visible;
    input.setAttribute("aria-expanded", String(visible));
    if (!visible) input.removeAttribute("aria-activedescendant");
  }

  function mark(index) {
    const rows = [...list.children];
    if (!rows.length) return;
    active = (index + rows.length) % rows.length;
    for (const [at, row] of rows.entries())
      row.setAttribute("aria-selected", String(at === active));
    rows[active].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", rows[active].id);
  }

  function take(value) {
    input.value = value;
    show(false);
    input.focus();
  }

  function key(event) {
    const opened = !list.hidden;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      if (!opened) open();
      mark(active < 0 ? Math.min(step, 0) : active + step);
    } else if (event.key === "Enter" && opened && active >= 0) {
      event.preventDefault(); // takes the value; a second Enter sends the form
      take(list.children[active].dataset.value);
    } else if (event.key === "Escape" && opened) {
      event.preventDefault();
      event.stopPropagation();
      show(false);
    }
  }

  input.addEventListener("input", open);
  input.addEventListener("click", open);
  input.addEventListener("keydown", key);
  input.addEventListener("blur", () => show(false));
  return { node: el("div", { class: "combobox" }, input, list), input };
}

/** The options that contain the typed text, those that begin with it first. */
function matching(options, typed) {
  const text = typed.trim().toLowerCase();
  if (options.some(({ value }) => value.toLowerCase() === text)) return options.slice(0, SHOWN);
  const begins = options.filter(({ value }) => value.toLowerCase().startsWith(text));
  const contains = options.filter(
    (one) => !begins.includes(one) && one.value.toLowerCase().includes(text),
  );
  return [...begins, ...contains].slice(0, SHOWN);
}
