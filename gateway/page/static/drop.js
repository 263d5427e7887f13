// Photos and addresses that are dropped or pasted anywhere on the page.

import { el } from "/page/dom.js";

/** Calls `files(list)` or `address(url)`. */
export function watchDrops({ files, address }) {
  const cover = el(
    "div",
    { class: "cover", hidden: true, "aria-hidden": "true" },
    el("p", { class: "text" }, "Drop the photos of one ad"),
  );
  document.body.append(cover);
  window.addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault(); // otherwise the browser opens the file
    cover.hidden = false;
  });
  window.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) cover.hidden = true;
  });
  window.addEventListener("drop", (event) => {
    cover.hidden = true;
    if (!holdsFiles(event)) return;
    event.preventDefault();
    if (event.dataTransfer.files.length) files([...event.dataTransfer.files]);
  });
  window.addEventListener("paste", (event) => {
    const pasted = [...(event.clipboardData?.files ?? [])];
    const url = webAddress(event.clipboardData?.getData("text/plain"));
    if (pasted.length) files(pasted);
    else if (url && !event.target.closest?.("input, textarea")) address(url);
  });
}

const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

/** An http or https address; null if the text is none. */
export function webAddress(text) {
  const trimmed = (text ?? "").trim();
  return /^https?:\/\/[^\s/]+/i.test(trimmed) && !/\s/.test(trimmed) ? trimmed : null;
}

/** What to call the ad of an address: the file's name, or the host. */
export function titleOf(url) {
  const { hostname, pathname } = new URL(url);
  const name = pathname.split("/").pop();
  try {
    return decodeURIComponent(name) || hostname;
  } catch {
    return name;
  }
}

/** The photos in the clipboard, as files; asks the browser for permission. */
export async function clipboardPhotos() {
  const found = [];
  for (const item of await navigator.clipboard.read()) {
    const type = item.types.find((one) => one.startsWith("image/"));
    if (type) found.push(new File([await item.getType(type)], "pasted", { type }));
  }
  return found;
}
