// The tab Score (#/look): the forms at the left, the ad and its predictions at the right.

import { adPath, call } from "/page/api.js";
import { el, fill } from "/page/dom.js";
import { duration } from "/page/format.js";
import { intake } from "/page/intake.js";
import { errorNotice, notice } from "/page/notices.js";
import { Pictures } from "/page/pictures.js";
import { result } from "/page/result.js";
import { adHash, pushHash } from "/page/route.js";

const WAIT_S = 5;
const PATIENCE_S = 30;
const SECOND_MS = 1000;

export function lookView(panel) {
  const out = el("div", { class: "outcome" });
  let pictures = new Pictures();
  let stop = new AbortController();
  let shown = null;

  const left = intake({
    drop: (files, catalog) => send(files, catalog),
    pick: (catalog, adId) => {
      pushHash(adHash(catalog, adId));
      look(catalog, adId);
    },
  });
  fill(panel, el("div", { class: "look" }, left.node, out));

  /** Start a new task: abort the previous one and revoke its photos' URLs. */
  function begin() {
    stop.abort();
    stop = new AbortController();
    pictures.release();
    pictures = new Pictures();
    shown = null;
    return stop.signal;
  }

  async function send(files, catalog) {
    const signal = begin();
    const adId = `${Date.now().toString(36)}-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
    const previews = files.map((file) => pictures.showFile(file, `Sent: ${file.name}`));
    const progress = waitingBox(
      `Sending ${files.length === 1 ? "the photo" : `${files.length} photos`} and waiting for the result`,
      signal,
    );
    fill(out, progress.node, el("div", { class: "previews" }, previews));
    const form = new FormData();
    form.append("ad", JSON.stringify({ catalog, ad_id: adId, title: files[0].name }));
    for (const file of files) form.append("photo", file);
    const began = performance.now();
    await attempt(
      signal,
      () => send(files, catalog),
      async () => {
        const query = { wait: WAIT_S };
        const answer = await call("/v1/ads", { method: "POST", form, query, signal });
        const ad = answer.body.status
          ? answer.body
          : await poll(catalog, adId, progress, answer.body, signal);
        const tookMs = performance.now() - began;
        pushHash(adHash(catalog, adId));
        draw(ad, tookMs);
        left.refresh();
      },
    );
  }

  async function look(catalog, adId) {
    const signal = begin();
    const progress = waitingBox("Loading the ad", signal);
    fill(out, progress.node);
    await attempt(
      signal,
      () => look(catalog, adId),
      async () => {
        const { body } = await call(adPath(catalog, adId), { signal });
        draw(body);
        if (body.waiting) draw(await poll(catalog, adId, null, null, signal));
      },
    );
  }

  async function attempt(signal, again, work) {
    try {
      await work();
    } catch (error) {
      if (!signal.aborted) fill(out, errorNotice(error, again));
    }
  }

  /** Request the ad every second until no revision of it is waiting, for PATIENCE_S at most. */
  async function poll(catalog, adId, progress, accepted, signal) {
    if (accepted) progress?.update("Accepted, not scored yet", whyNotYet(accepted));
    const until = performance.now() + PATIENCE_S * SECOND_MS;
    for (;;) {
      const { body } = await call(adPath(catalog, adId), { signal });
      if (!body.waiting && body.status !== "received") return body;
      if (performance.now() > until) return body;
      await pause(SECOND_MS, signal);
    }
  }

  function draw(ad, tookMs = null) {
    pictures.release();
    pictures = new Pictures();
    shown = ad;
    const again = () => look(ad.catalog, ad.ad_id);
    fill(out, result(ad, { pictures, tookMs, again }));
    if (ad.timings && ad.timings.total_ms === null) complete(ad, tookMs, 3);
  }

  /** The commit time is written after the commit, so it is available a little later than the ad. */
  async function complete(ad, tookMs, tries) {
    const signal = stop.signal;
    try {
      await pause(SECOND_MS, signal);
      const { body } = await call(adPath(ad.catalog, ad.ad_id), { signal });
      if (signal.aborted || shown !== ad) return;
      if (body.timings?.total_ms != null) out.querySelector(".outcome > *")?.retime?.(body, tookMs);
      else if (tries > 1) await complete(ad, tookMs, tries - 1);
    } catch {
      // the timings stay incomplete
    }
  }

  return {
    show(route) {
      left.refresh();
      const [catalog, ...rest] = route.parts;
      const adId = rest.join("/");
      if (!catalog || !adId) {
        if (!shown) fill(out, nothingYet());
      } else if (shown?.catalog !== catalog || shown?.ad_id !== adId) look(catalog, adId);
    },
    hide() {},
  };
}

function whyNotYet(accepted) {
  return accepted.published
    ? "The ad is stored and published to Kafka, but no session has scored it yet. Check that a session is running. Still waiting."
    : "The ad is stored, but Kafka has not acknowledged it yet. It is published as soon as Kafka is available. Still waiting.";
}

function nothingYet() {
  return el(
    "div",
    { class: "card empty" },
    el(
      "p",
      {},
      "Drop a photo or open an ad to see its predictions, their sources and the time of each stage.",
    ),
  );
}

/** A notice of what is in progress, and for how long. */
function waitingBox(title, signal) {
  const node = notice(title, "");
  node.classList.add("busy");
  const [strong, text] = node.children;
  const began = performance.now();
  const seconds = el("span", { class: "hint", "aria-hidden": "true" });
  node.append(" ", seconds);
  const timer = setInterval(() => {
    if (!node.isConnected || signal.aborted) clearInterval(timer);
    else seconds.textContent = duration(performance.now() - began);
  }, 200);
  return {
    node,
    update(newTitle, newText) {
      strong.textContent = newTitle;
      text.textContent = newText;
    },
  };
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
