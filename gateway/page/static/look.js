// The tab Score (#/look): the ways to send photos, and the ad with its predictions.

import { adPath, call } from "/page/api.js";
import { el, fill } from "/page/dom.js";
import { titleOf } from "/page/drop.js";
import { duration } from "/page/format.js";
import { intake } from "/page/intake.js";
import { errorNotice, notice } from "/page/notices.js";
import { Pictures } from "/page/pictures.js";
import { result } from "/page/result.js";
import { adHash, go, hashOf, pushHash } from "/page/route.js";
import { adsLike } from "/page/similar.js";

const WAIT_S = 5;
const PATIENCE_S = 30;
const SECOND_MS = 1000;
const MAX_TITLE = 200;

export function lookView(panel) {
  const out = el("div", { class: "outcome" });
  let pictures = new Pictures();
  let stop = new AbortController();
  let shown = null;
  let sending = false;

  const ways = intake({
    files: sendFiles,
    address: sendAddress,
    sample: sendSample,
    pick: (catalog, adId) => {
      pushHash(adHash(catalog, adId));
      look(catalog, adId);
    },
  });
  const view = el("div", { class: "look start" }, out, ways.node);
  fill(panel, view);

  /** Start a new task: abort the previous one and revoke its photos' URLs. */
  function begin() {
    stop.abort();
    stop = new AbortController();
    pictures.release();
    pictures = new Pictures();
    shown = null;
    sending = false;
    view.classList.replace("start", "open");
    return stop.signal;
  }

  /** The start of the tab: nothing is shown but the ways to send photos. */
  function restart() {
    begin();
    view.classList.replace("open", "start");
    fill(out);
  }

  function sendFiles(files) {
    if (ways.onlySearches()) {
      search(files[0], () => pictures.showFile(files[0], `Searched by: ${files[0].name}`));
      return;
    }
    send(files[0].name, {
      words: files.length === 1 ? "the photo" : `${files.length} photos`,
      previews: () => files.map((file) => pictures.showFile(file, `Sent: ${file.name}`)),
      request: (ad) => {
        const form = new FormData();
        form.append("ad", JSON.stringify(ad));
        for (const file of files) form.append("photo", file);
        return { form };
      },
    });
  }

  function sendAddress(url) {
    if (ways.onlySearches()) {
      search(url, () => el("p", { class: "mono address" }, url));
      return;
    }
    send(titleOf(url), {
      words: "the address",
      previews: () => el("p", { class: "mono address" }, url),
      request: (ad) => ({ json: { ...ad, photos: [{ url }] } }),
    });
  }

  async function sendSample(name) {
    const signal = begin();
    await attempt(
      signal,
      () => sendSample(name),
      async () => {
        const response = await fetch(`/page/samples/${name}.jpg`, { signal });
        const type = "image/jpeg";
        sendFiles([new File([await response.blob()], `Sample: ${name}`, { type })]);
      },
    );
  }

  /** Show the ads like a photo, a file or an address, without sending an ad. */
  async function search(photo, preview) {
    const signal = begin();
    const progress = waitingBox("Searching for similar ads", signal);
    const previews = el("div", { class: "previews" }, preview());
    fill(out, progress.node, previews);
    window.scrollTo(0, 0);
    await attempt(
      signal,
      () => search(photo, preview),
      async () => {
        const found = await adsLike(photo, pictures, signal);
        fill(out, previews, el("div", { class: "similar-ads" }, found), backRow());
      },
    );
  }

  /** Post a new ad and show its predictions. `request(ad)`: the body of the request. */
  async function send(title, { words, previews, request }) {
    const signal = begin();
    sending = true;
    const catalog = ways.catalog();
    const random = crypto.getRandomValues(new Uint32Array(1))[0].toString(36);
    const adId = `${Date.now().toString(36)}-${random}`;
    const progress = waitingBox(`Sending ${words} and waiting for the result`, signal);
    fill(out, progress.node, el("div", { class: "previews" }, previews()));
    window.scrollTo(0, 0);
    const began = performance.now();
    await attempt(
      signal,
      () => send(title, { words, previews, request }),
      async () => {
        const query = { wait: WAIT_S };
        const body = request({ catalog, ad_id: adId, title: title.slice(0, MAX_TITLE) });
        const answer = await call("/v1/ads", { method: "POST", ...body, query, signal });
        const ad = answer.body.status
          ? answer.body
          : await poll(catalog, adId, progress, answer.body, signal);
        const tookMs = performance.now() - began;
        sending = false;
        draw(ad, tookMs);
        if (panel.hidden) return; // `show` sets the hash when the tab is shown again
        pushHash(adHash(catalog, adId));
        out.querySelector("h1").focus();
        ways.refresh();
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
      if (signal.aborted) return;
      sending = false;
      fill(out, errorNotice(error, again), backRow());
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
    fill(out, result(ad, { pictures, tookMs, again, signal: stop.signal }));
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
    files: sendFiles,
    address: sendAddress,
    show(route, { returned = false } = {}) {
      ways.refresh();
      const [catalog, ...rest] = route.parts;
      const adId = rest.join("/");
      if (catalog && adId) {
        if (shown?.catalog !== catalog || shown?.ad_id !== adId) look(catalog, adId);
      } else if (returned && shown) pushHash(adHash(shown.catalog, shown.ad_id));
      else if (!sending) restart();
    },
    hide() {},
  };
}

/** After an error: the way back to the start. */
function backRow() {
  const back = () => go(hashOf("look"));
  return el(
    "p",
    { class: "row back" },
    el("button", { type: "button", class: "quiet", onclick: back }, "Back to the start"),
  );
}

function whyNotYet(accepted) {
  return accepted.published
    ? "The ad is stored and published to Kafka, but no session has scored it yet. Check that a session is running. Still waiting."
    : "The ad is stored, but Kafka has not acknowledged it yet. It is published as soon as Kafka is available. Still waiting.";
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
