// Parameters, bodies, responses and types of /v1/openapi.json, as tables.

import { el } from "/page/dom.js";

const MAX_DEPTH = 4;

export function parameters(declared, spec) {
  if (!declared.length) return null;
  const rows = declared
    .map((one) => resolved(one, spec))
    .map((one) =>
      row(
        one.name,
        `${one.in}${one.required ? ", required" : ""}`,
        typed(one.schema ?? {}, spec),
        one.description ?? one.schema?.description,
      ),
    );
  return el("table", { class: "params" }, header("Parameter"), el("tbody", {}, rows));
}

export function bodies(body, spec) {
  return Object.entries(body.content ?? {}).map(([type, content]) => {
    const schema = resolved(content.schema ?? {}, spec);
    return el("details", {}, el("summary", {}, `Body: ${type}`), fields(schema, spec));
  });
}

/** The example of a body or a response, by its content and schema; undefined: it has none. */
export function exampleOf(content, spec) {
  const schema = resolved(content?.schema ?? {}, spec);
  return (
    content?.example ?? Object.values(content?.examples ?? {})[0]?.value ?? schema.examples?.[0]
  );
}

export function responseList(responses, spec) {
  return Object.entries(responses)
    .filter(([status]) => status < "300")
    .map(([status, response]) => {
      const one = resolved(response, spec);
      const content = Object.values(one.content ?? {})[0];
      const schema = content?.schema ? resolved(content.schema, spec) : {};
      const example = exampleOf(content, spec);
      return el(
        "details",
        {},
        el("summary", {}, `${status}: ${one.description}`),
        fields(schema, spec),
        example !== undefined &&
          el("pre", { tabindex: 0, "aria-label": "Example" }, JSON.stringify(example, null, 2)),
      );
    })
    .concat(errorList(responses, spec));
}

function errorList(responses, spec) {
  const rows = Object.entries(responses)
    .filter(([status]) => status >= "300")
    .map(([status, response]) =>
      el(
        "tr",
        {},
        el("td", { class: "name" }, status),
        el("td", {}, resolved(response, spec).description),
      ),
    );
  return rows.length
    ? [
        el(
          "details",
          {},
          el("summary", {}, "Other responses"),
          el("table", { class: "params" }, el("tbody", {}, rows)),
        ),
      ]
    : [];
}

function fields(schema, spec) {
  const inner = resolved(schema, spec);
  if (!inner.properties) return null;
  const required = new Set(inner.required ?? []);
  const rows = Object.entries(inner.properties).map(([name, one]) =>
    row(
      name,
      required.has(name) ? "required" : "",
      typed(one, spec),
      resolved(one, spec).description ?? one.description,
    ),
  );
  return el("table", { class: "params" }, header("Field"), el("tbody", {}, rows));
}

const header = (first) =>
  el(
    "thead",
    {},
    el(
      "tr",
      {},
      [first, "", "Type", "Description"].map((text) => el("th", { scope: "col" }, text)),
    ),
  );

const row = (name, how, type, meaning) =>
  el(
    "tr",
    {},
    el("td", { class: "name" }, name),
    el("td", { class: "hint how" }, how),
    el("td", { class: "mono" }, type),
    el("td", {}, withCode(meaning ?? "")),
  );

/** A text whose parts in backticks are shown as code. */
export function withCode(text) {
  return text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

export function resolved(schema, spec, depth = 0) {
  if (!schema.$ref || depth > MAX_DEPTH) return schema;
  const found = schema.$ref
    .replace("#/", "")
    .split("/")
    .reduce((at, key) => at?.[key], spec);
  return resolved(found ?? {}, spec, depth + 1);
}

/** A short name of a type, with its bounds. */
function typed(schema, spec, depth = 0) {
  if (depth > MAX_DEPTH) return "…";
  const name = schema.$ref?.split("/").pop();
  const one = resolved(schema, spec);
  const either = one.anyOf ?? one.oneOf;
  if (either) {
    const names = new Set(either.map((option) => typed(option, spec, depth + 1)));
    if (names.size > 1) names.delete("null"); // an optional value is omitted rather than null
    return [...names].join(" or ");
  }
  if (one.const !== undefined) return JSON.stringify(one.const);
  if (one.enum) return one.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (one.type === "array") return `list of ${typed(one.items ?? {}, spec, depth + 1)}`;
  if (name) return name;
  const bounds = [
    ["≥", one.minimum],
    [">", one.exclusiveMinimum],
    ["≤", one.maximum],
    ["<", one.exclusiveMaximum],
    ["at least", one.minLength],
    ["at most", one.maxLength],
  ]
    .filter(([, value]) => value !== undefined)
    .map((pair) => pair.join(" "));
  const type = [one.type ?? "any", one.format].filter(Boolean).join(" ");
  return bounds.length ? `${type}, ${bounds.join(", ")}` : type;
}
