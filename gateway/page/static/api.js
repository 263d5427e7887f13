// Calls the API. Decides which answers are errors, and that a 401 asks for a key and goes on.

import { askForKey, key } from "/page/key.js";

/** A refusal that the API explained (problem details), or something between here and it. */
export class CallError extends Error {
  constructor(status, problem, retryAfterS) {
    super(problem.detail ?? problem.title ?? `HTTP ${status}`);
    this.status = status; // 0: nobody answered
    this.problem = problem;
    this.kind = String(problem.type ?? "")
      .split(":")
      .pop();
    this.retryAfterS = retryAfterS;
  }
}

export const adPath = (catalog, adId) =>
  `/v1/ads/${encodeURIComponent(catalog)}/${encodeURIComponent(adId)}`;

export const photoPath = (sha256) => `/v1/photos/${sha256}`;

/** The JSON of an answer, with its status: {status, body}. Throws CallError. */
export async function call(path, { method = "GET", query = {}, json, form, signal } = {}) {
  const response = await asked(path, { method, query, json, form, signal });
  const body = response.status === 204 ? null : await readable(response);
  return { status: response.status, body };
}

/** The bytes of an answer. */
export async function bytesOf(path, signal) {
  const response = await asked(path, { signal });
  return response.blob();
}

async function asked(path, options) {
  for (;;) {
    const sentKey = key();
    const response = await sent(path, options, sentKey);
    if (response.ok) return response;
    const error = await refusal(response);
    if (response.status !== 401) throw error;
    const changed = key() !== sentKey; // somebody else was asked meanwhile
    if (!changed && !(await askForKey(error.message))) throw error;
  }
}

async function sent(path, { method = "GET", query = {}, json, form, signal }, sentKey) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value != null);
  const text = new URLSearchParams(given).toString();
  const headers = { Accept: "application/json" };
  if (sentKey) headers.Authorization = `Bearer ${sentKey}`;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const body = json === undefined ? form : JSON.stringify(json);
  try {
    return await fetch(text ? `${path}?${text}` : path, {
      method,
      headers,
      body,
      signal,
      redirect: "error",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
}

function unreachable() {
  const detail = "The gateway did not answer. Is it running, and is the network there?";
  return new CallError(0, { title: "Nobody answered", detail }, null);
}

async function readable(response) {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
}

async function refusal(response) {
  const after = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  let problem = {};
  try {
    problem = (await response.json()) ?? {};
  } catch {
    problem = {
      title: response.statusText,
      detail: `HTTP ${response.status}, and nothing that explains it`,
    };
  }
  return new CallError(response.status, problem, Number.isFinite(after) ? after : null);
}
