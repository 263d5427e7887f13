// Calls the API: turns error responses into CallError, and asks for a key after 401.

import { askForKey, key } from "/page/key.js";

/** An error response of the API (problem details) or of a proxy, or no response at all. */
export class CallError extends Error {
  constructor(status, problem, retryAfterS) {
    super(problem.detail ?? problem.title ?? `HTTP ${status}`);
    this.status = status; // 0: no response
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

/** The path of a photo for a list: its thumbnail, or the photo itself while there is none. */
export const thumbnailPath = (sha256) => `${photoPath(sha256)}?thumbnail=1`;

/**
 * Calls the API; returns the response's status and JSON: {status, body}. Throws CallError.
 * `ask`: whether a 401 asks for a key.
 */
export async function call(path, options = {}) {
  const response = await request(path, options);
  const body = response.status === 204 ? null : await parsed(response);
  return { status: response.status, body };
}

/** The bytes of a response. */
export async function bytesOf(path, signal) {
  const response = await request(path, { signal });
  return response.blob();
}

async function request(path, options) {
  for (;;) {
    const sentKey = key();
    const response = await send(path, options, sentKey);
    if (response.ok) return response;
    const error = await errorOf(response);
    if (response.status !== 401 || options.ask === false) throw error;
    const changed = key() !== sentKey; // another call has asked for a key meanwhile
    if (!changed && !(await askForKey(error.message))) throw error;
  }
}

async function send(path, options, sentKey) {
  const { method = "GET", query = {}, json, form, photo, signal, keepalive } = options;
  const present = Object.entries(query).filter(([, value]) => value !== "" && value != null);
  const text = new URLSearchParams(present).toString();
  const headers = { Accept: "application/json" };
  if (sentKey) headers.Authorization = `Bearer ${sentKey}`;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  if (photo !== undefined) headers["Content-Type"] = "application/octet-stream";
  const body = json === undefined ? (photo ?? form) : JSON.stringify(json);
  try {
    return await fetch(text ? `${path}?${text}` : path, {
      method,
      headers,
      body,
      signal,
      keepalive, // the request outlives the page
      redirect: "error",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
}

function unreachable() {
  const detail = "The gateway did not respond. Check that it is running, and check the network.";
  return new CallError(0, { title: "No response", detail }, null);
}

async function parsed(response) {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
}

async function errorOf(response) {
  const after = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  let problem = {};
  try {
    problem = (await response.json()) ?? {};
  } catch {
    problem = {
      title: response.statusText,
      detail: `HTTP ${response.status}, without a problem document`,
    };
  }
  return new CallError(response.status, problem, Number.isFinite(after) ? after : null);
}
