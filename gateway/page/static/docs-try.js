// The request of a route: its form, the same as curl and Python, and the answer when it is sent.

import { answer, failed } from "/page/docs-answer.js";
import { address, curl, MASK, PHOTO, python } from "/page/docs-examples.js";
import { exampleOf, resolved } from "/page/docs-schema.js";
import { el, fill } from "/page/dom.js";
import { key, setKey } from "/page/key.js";

const KINDS = { "application/json": "JSON", "multipart/form-data": "form with photos" };
const LANGUAGES = { curl, Python: python };
let language = "curl";
let numbered = 0;

function newId() {
  numbered += 1;
  return `try-${numbered}`;
}

/** The field of the API key, which all forms use. */
export function keyCard({ keys }, changed) {
  const input = el("input", {
    id: "docs-key",
    type: "password",
    autocomplete: "off",
    spellcheck: false,
    placeholder: "lv_…",
    value: key() ?? "",
    oninput: () => {
      setKey(input.value.trim());
      changed();
    },
  });
  const hint = keys
    ? "This gateway requires a key: lalafo keys make NAME creates one."
    : "This gateway answers without a key, or with the one that is set.";
  return el(
    "section",
    { class: "card", "aria-label": "API key" },
    el(
      "div",
      { class: "body key-row" },
      el("label", { for: input.id }, "API key for the requests of this page"),
      input,
      el("span", { class: "hint" }, hint, " It stays in this tab."),
    ),
  );
}

/** Returns {node, update}: `update` draws the examples again. */
export function tryIt(route, spec, gateway) {
  const fields = route.declared.map((one) => parameterField(one, route, gateway));
  const body = bodyFields(route, spec, gateway);
  const code = el("pre", { tabindex: 0, "aria-label": "Example" });
  const out = el("div", { class: "answer-out", role: "status" });
  const picks = Object.keys(LANGUAGES).map((name) =>
    el("button", { type: "button", "data-name": name, onclick: () => choose(name) }, name),
  );
  const copied = el("span", { class: "hint", role: "status" });
  const copy = el("button", { type: "button", onclick: () => toClipboard(code, copied) }, "Copy");
  const send = el("button", { type: "submit", class: "main" }, "Send");
  const changes = route.method !== "get" && "It changes data on this gateway.";

  const request = () => ({
    method: route.method.toUpperCase(),
    saved: savedAs(route.operation),
    ...located(route, fields),
    ...body.read(),
  });

  function update() {
    fill(code, LANGUAGES[language](request(), gateway.keys || Boolean(key())));
    for (const pick of picks)
      pick.setAttribute("aria-pressed", String(pick.dataset.name === language));
  }

  function choose(name) {
    language = name;
    document.dispatchEvent(new CustomEvent("language"));
  }

  const form = el(
    "form",
    {
      class: "try-form",
      oninput: update,
      onsubmit: async (event) => {
        event.preventDefault();
        send.disabled = true;
        fill(out, el("p", { class: "hint" }, "Waiting for the answer"));
        fill(out, await sent(request(), body.bytes()));
        send.disabled = false;
      },
    },
    el(
      "div",
      { class: "try-fields" },
      fields.map(({ node }) => node),
    ),
    body.node,
    el("p", { class: "row" }, send, el("span", { class: "hint" }, changes)),
    out,
  );
  document.addEventListener("language", update);
  update();
  const node = el(
    "div",
    { class: "request" },
    el("div", { class: "row" }, el("span", { class: "row picks" }, picks), copy, copied),
    code,
    el("details", { class: "try" }, el("summary", {}, "Try it"), form),
  );
  return { node, update };
}

function parameterField(parameter, { declared }, { ad }) {
  const id = newId();
  const schema = parameter.schema ?? {};
  const known = { catalog: ad?.catalog ?? "kg", ad_id: ad?.ad_id ?? "42" };
  const sha256 = ad?.sha256 ?? "0".repeat(64);
  const names = declared.some(({ name, required }) => name === "ad_id" && required); // an ad's key
  const given = parameter.required || (names && parameter.name === "catalog");
  const value = given ? ({ ...known, sha256 }[parameter.name] ?? "") : "";
  const options = schema.enum ?? schema.anyOf?.find((one) => one.enum)?.enum;
  const input = options
    ? el(
        "select",
        { id },
        ["", ...options].map((one) => el("option", { value: one }, one)),
      )
    : el("input", { id, value, autocomplete: "off", required: parameter.required });
  const name = el("span", { class: "mono" }, parameter.name);
  const node = el("span", { class: "by" }, el("label", { for: id }, name), input);
  return { node, parameter, value: () => input.value };
}

/** The file that takes an answer which is an image; undefined for others. */
function savedAs({ responses }) {
  const [type] = Object.keys(responses["200"]?.content ?? {});
  const format = /^image\/(\w+)$/.exec(type)?.[1];
  return format && `photo.${format.replace("jpeg", "jpg")}`;
}

/** The path, the query and the headers, from the fields. */
function located(route, fields) {
  const found = { path: route.path, query: {}, headers: {} };
  for (const { parameter, value } of fields) {
    const text = value();
    if (parameter.in === "path")
      found.path = found.path.replace(`{${parameter.name}}`, encodeURIComponent(text));
    else if (text !== "")
      found[parameter.in === "query" ? "query" : "headers"][parameter.name] = text;
  }
  return found;
}

/** The example of a body; one that names ads names those that this gateway has. */
function ofKnownAds(example, ad, other) {
  const key = (one) => ({ catalog: one.catalog, ad_id: one.ad_id });
  const first = example.ad && ad ? { ad: key(ad) } : {};
  const second = example.other && other ? { other: key(other) } : {};
  return { ...example, ...first, ...second };
}

/** The fields of a body: {node, read, bytes}; `bytes`: the chosen files. */
function bodyFields(route, spec, { ad, other }) {
  const content = resolved(route.operation.requestBody ?? {}, spec).content ?? {};
  const types = Object.keys(content);
  if (!types.length) return { node: null, read: () => ({}), bytes: () => [] };
  const json = content["application/json"];
  const form = content["multipart/form-data"];
  const id = newId();
  const example = ofKnownAds(exampleOf(json, spec) ?? {}, ad, other);
  const text = el("textarea", { id, rows: 8, spellcheck: false }, JSON.stringify(example, null, 2));
  const files = el("input", {
    id: `${id}-files`,
    type: "file",
    accept: "image/*",
    multiple: Boolean(form),
  });
  const kind = el(
    "select",
    { id: `${id}-kind` },
    Object.entries(KINDS).map(([type, name]) => el("option", { value: type }, name)),
  );
  const labelled = (input, words) =>
    el("span", { class: "by" }, el("label", { for: input.id }, words), input);
  const part = form && photoPart(form, spec);
  const type = types.join() === "image/png" ? "image/png" : "image/jpeg";
  const usual = type === "image/png" ? MASK : PHOTO;
  const names = () => ([...files.files].length ? [...files.files].map((one) => one.name) : [usual]);
  const read = () => {
    if (!json) return { file: names()[0], type };
    if (!form || kind.value === "application/json") return { json: compact(text.value) };
    return { parts: [...textParts(part, text.value), ...names().map((file) => [part, { file }])] };
  };
  const node = el(
    "div",
    { class: "try-body" },
    json && form && labelled(kind, "Body"),
    json && labelled(text, "JSON"),
    (!json || form) && labelled(files, form ? "Photos of the form" : "Photo"),
  );
  return { node, read, bytes: () => [...files.files] };
}

const photoPart = (form, spec) =>
  Object.entries(resolved(form.schema, spec).properties).find(([, one]) => one.type === "array")[0];

/** The text parts of a form: the ad as JSON, or the original API's fields. */
function textParts(part, json) {
  if (part === "photo") return [["ad", compact(json)]];
  try {
    const fields = Object.entries(JSON.parse(json));
    return fields.filter(([, value]) => typeof value === "string");
  } catch {
    return [];
  }
}

/** JSON on one line; text that is no JSON is sent as it is, and the gateway says what is wrong. */
function compact(text) {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return text;
  }
}

async function sent(request, files) {
  const headers = { ...request.headers };
  if (key()) headers.Authorization = `Bearer ${key()}`;
  let body;
  if (request.json !== undefined) {
    headers["Content-Type"] = "application/json";
    body = request.json;
  } else if (request.parts) {
    body = new FormData();
    for (const [name, value] of request.parts) if (!value.file) body.append(name, value);
    const [name] = request.parts.find(([, value]) => value.file);
    for (const file of files) body.append(name, file);
  } else if (request.file) [body] = files;
  const began = performance.now();
  try {
    const response = await fetch(address(request), { method: request.method, headers, body });
    return await answer(response, performance.now() - began);
  } catch (error) {
    return failed(error);
  }
}

async function toClipboard(code, status) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    status.textContent = "Copied";
  } catch {
    window.getSelection().selectAllChildren(code); // no permission: the text is selected instead
    status.textContent = "Selected: press Ctrl+C";
  }
}
