// Creates elements. Data is inserted as text and attributes, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `on…` adds a listener, null and false omit an attribute, `style` is set by CSSOM. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") {
      for (const [property, text] of Object.entries(value)) node.style.setProperty(property, text);
    } else node.setAttribute(name, value === true ? "" : String(value));
  }
  add(node, children);
  return node;
}

/** Append children; arrays are flattened, null and false are skipped. */
export function add(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
}

/** Replace a node's children. */
export function fill(node, ...children) {
  node.replaceChildren();
  add(node, children);
}

/** A box with a title. `aside`: shown at the right of the title. */
export function card(title, aside, ...children) {
  return el(
    "section",
    { class: "card", "aria-label": title },
    el("header", {}, el("h2", {}, title), aside && el("span", { class: "hint" }, aside)),
    el("div", { class: "body" }, ...children),
  );
}

/** A card whose body changes: `update(data, draw)` draws it again if the data differ. */
export function liveCard(title, aside = null) {
  const node = card(title, aside);
  const body = node.querySelector(".body");
  let current = null;
  const update = (data, draw) => {
    const text = JSON.stringify(data);
    if (text === current) return; // an unchanged body keeps its focus
    current = text;
    fill(body, draw(data));
  };
  return { node, update };
}

/** A form field with its label above it. */
export function field(label, input) {
  return el("div", { class: "field" }, el("label", { for: input.id }, label), input);
}

/** A link, or plain text without a href; links to other sites open in a new tab. */
export function link(text, href, attributes = {}) {
  if (!href) return el("span", attributes, text);
  const outside = /^https?:\/\//.test(href);
  if (!outside && !/^[#/]/.test(href)) return el("span", attributes, text); // such as javascript:
  const newTab = outside ? { target: "_blank", rel: "noopener noreferrer" } : {};
  return el("a", { href, ...newTab, ...attributes }, text);
}
