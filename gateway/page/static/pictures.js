// Loads photos with the API key and shows them as blob URLs; a view releases all of them together.

import { bytesOf } from "/page/api.js";
import { el } from "/page/dom.js";

const AT_ONCE = 6;

export class Pictures {
  #stop = new AbortController();
  #urls = [];
  #queue = [];
  #busy = 0;
  #waiting = new Map(); // images that are not near the visible part of the page yet
  #sight = new IntersectionObserver((entries) => this.#seen(entries), { rootMargin: "200px" });

  /**
   * An <img> that is shown once its bytes are loaded; `path` is a path of the API. With the
   * attribute `loading: "lazy"` they are loaded when it is about to be seen.
   */
  show(path, alt, attributes = {}) {
    const image = el("img", { alt, ...attributes });
    const item = { path, image, tries: 2 };
    if (attributes.loading === "lazy") {
      this.#waiting.set(image, item);
      this.#sight.observe(image);
    } else this.#want(item);
    return image;
  }

  #seen(entries) {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      this.#sight.unobserve(target);
      this.#want(this.#waiting.get(target));
      this.#waiting.delete(target);
    }
  }

  #want(item) {
    this.#queue.push(item);
    this.#next();
  }

  /** An <img> of a local file. */
  showFile(file, alt, attributes = {}) {
    return el("img", { alt, src: this.#url(file), ...attributes });
  }

  /** Revoke every URL, and stop loading. */
  release() {
    this.#stop.abort();
    this.#sight.disconnect();
    this.#waiting.clear();
    this.#queue = [];
    for (const url of this.#urls) URL.revokeObjectURL(url);
    this.#urls = [];
  }

  #url(blob) {
    const url = URL.createObjectURL(blob);
    this.#urls.push(url);
    return url;
  }

  #next() {
    while (this.#busy < AT_ONCE && this.#queue.length) {
      this.#busy += 1;
      this.#load(this.#queue.shift()).finally(() => {
        this.#busy -= 1;
        this.#next();
      });
    }
  }

  async #load(item) {
    const signal = this.#stop.signal;
    try {
      const blob = await bytesOf(item.path, signal);
      if (signal.aborted) return;
      item.image.src = this.#url(blob);
      item.image.classList.add("loaded");
    } catch (error) {
      if (signal.aborted) return;
      if (error.retryAfterS && item.tries > 0) {
        setTimeout(() => this.#again(item), error.retryAfterS * 1000);
      } else item.image.classList.add("missing");
    }
  }

  #again(item) {
    if (this.#stop.signal.aborted) return;
    item.tries -= 1;
    this.#want(item);
  }
}
