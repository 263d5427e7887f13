// The answer to a request that a person sent: status, time, headers, and the body.

import { el } from "/page/dom.js";
import { bytes, duration } from "/page/format.js";
import { notice } from "/page/notices.js";

const MAX_CHARS = 50_000;

/** A response as nodes; an image is shown, JSON is indented. */
export async function answer(response, tookMs) {
  const blob = await response.blob();
  const status = `${response.status} ${response.statusText}`.trim();
  return [
    el(
      "p",
      { class: "row" },
      el("span", { class: `chip ${response.ok ? "good" : "bad"}` }, status),
      el("span", { class: "hint" }, `${duration(tookMs)}, ${bytes(blob.size)}`),
    ),
    el(
      "details",
      {},
      el("summary", {}, "Headers"),
      el(
        "table",
        { class: "params" },
        el(
          "tbody",
          {},
          [...response.headers].map(([name, value]) =>
            el("tr", {}, el("td", { class: "name" }, name), el("td", { class: "mono" }, value)),
          ),
        ),
      ),
    ),
    blob.size > 0 && (await body(response, blob)),
  ];
}

async function body(response, blob) {
  const type = response.headers.get("Content-Type") ?? "";
  if (type.startsWith("image/")) {
    const image = el("img", { alt: "The photo of the answer", src: URL.createObjectURL(blob) });
    image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
    return image;
  }
  const text = indented(await blob.text());
  const shown = text.length > MAX_CHARS ? `${text.slice(0, MAX_CHARS)}\n…` : text;
  return el("pre", { tabindex: 0, "aria-label": "Body" }, shown);
}

function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** No response came at all. */
export function failed(error) {
  return notice("No response", `${error.message}. Check that the gateway is running.`);
}
