// Renders /v1/openapi.json: its routes, each with examples and a form that sends the request.

import { call } from "/page/api.js";
import { bodies, parameters, resolved, responseList, withCode } from "/page/docs-schema.js";
import { keyCard, tryIt } from "/page/docs-try.js";
import { el, fill } from "/page/dom.js";
import { errorNotice } from "/page/notices.js";

const METHODS = ["get", "post", "put", "patch", "delete"];

async function load() {
  const routes = document.getElementById("routes");
  try {
    const [{ body }, gateway] = await Promise.all([call("/v1/openapi.json"), lookAround()]);
    draw(body, gateway);
  } catch (error) {
    fill(routes, errorNotice(error, load));
  }
}

/** Whether requests need a key, and ads that exist, for examples that work as they stand. */
async function lookAround() {
  try {
    const scored = async (query) =>
      (await call("/v1/ads", { query: { ...query, status: "scored" }, ask: false })).body.ads;
    const [ad] = await scored({ limit: 1 });
    const near = ad ? await scored({ limit: 2, catalog: ad.catalog }) : [];
    return { keys: false, ad, other: near.find(({ ad_id: id }) => id !== ad.ad_id) };
  } catch (error) {
    return { keys: error.status === 401 || error.status === 403, ad: undefined };
  }
}

function draw(spec, gateway) {
  const routes = Object.entries(spec.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({
      path,
      method,
      operation: item[method],
      declared: [...(item.parameters ?? []), ...(item[method].parameters ?? [])].map((one) =>
        resolved(one, spec),
      ),
    })),
  );
  fill(document.getElementById("contents"), el("ul", {}, routes.map(entry)));
  const shown = [];
  const refresh = () => {
    for (const update of shown) update();
  };
  fill(
    document.getElementById("routes"),
    about(spec),
    keyCard(gateway, refresh),
    routes.map((route) => routeCard(route, { spec, gateway, shown })),
  );
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

function entry(route) {
  return el(
    "li",
    {},
    el(
      "a",
      { href: `#${anchor(route)}` },
      el("span", { class: "method" }, route.method.toUpperCase()),
      el("span", {}, route.path),
    ),
  );
}

function about(spec) {
  const texts = (spec.info.description ?? "").trim().split("\n\n");
  return el(
    "section",
    { class: "card intro" },
    el(
      "div",
      { class: "body" },
      el("h1", {}, `${spec.info.title}, API ${spec.info.version}`),
      texts.map((text) => el("p", {}, text)),
    ),
  );
}

const anchor = ({ method, path }) =>
  `${method}${path.replace(/[^a-z0-9]+/gi, "-").replace(/-$/, "")}`;

function routeCard(route, { spec, gateway, shown }) {
  const { operation } = route;
  const { node, update } = tryIt(route, spec, gateway);
  shown.push(update);
  return el(
    "section",
    { class: "card route", id: anchor(route), "aria-label": `${route.method} ${route.path}` },
    el(
      "header",
      {},
      el("span", { class: "method" }, route.method.toUpperCase()),
      el("h2", { class: "mono" }, route.path),
      el("span", { class: "hint" }, operation.summary),
    ),
    el(
      "div",
      { class: "body" },
      el("p", {}, withCode(operation.description ?? "")),
      node,
      parameters(route.declared, spec),
      operation.requestBody && bodies(resolved(operation.requestBody, spec), spec),
      responseList(operation.responses ?? {}, spec),
    ),
  );
}

load();
