// Builds elements. Data reaches the document as text and attributes, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element; `on…` are listeners, null and false attributes are left out, `style` goes by CSSOM. */
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

/** Append; arrays are flattened, null and false are nothing. */
export function add(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
}

/** Put these in place of whatever a node holds. */
export function fill(node, ...children) {
  node.replaceChildren();
  add(node, children);
}

/** A titled box. `aside`: what stands at the right of its title. */
export function card(title, aside, ...children) {
  return el(
    "section",
    { class: "card", "aria-label": title },
    el("header", {}, el("h2", {}, title), aside && el("span", { class: "hint" }, aside)),
    el("div", { class: "body" }, ...children),
  );
}

/** A card whose body changes: `tell(data, nodes)` draws it anew where the data differ. */
export function livingCard(title, aside = null) {
  const node = card(title, aside);
  const body = node.querySelector(".body");
  let told = null;
  const tell = (data, draw) => {
    const text = JSON.stringify(data);
    if (text === told) return; // what is the same keeps its focus
    told = text;
    fill(body, draw(data));
  };
  return { node, tell };
}

/** A labelled field: its label above it. */
export function field(label, input) {
  return el("div", { class: "field" }, el("label", { for: input.id }, label), input);
}

/** A link if there is somewhere to go, plain text if not; outside links open beside this page. */
export function link(text, href, attributes = {}) {
  if (!href) return el("span", attributes, text);
  const outside = /^https?:\/\//.test(href);
  if (!outside && !/^[#/]/.test(href)) return el("span", attributes, text); // javascript: and kin
  const beside = outside ? { target: "_blank", rel: "noopener noreferrer" } : {};
  return el("a", { href, ...beside, ...attributes }, text);
}
