// Photos, fetched with the key and shown as blob URLs. A view holds them, and lets them all go.

import { bytesOf } from "/page/api.js";
import { el } from "/page/dom.js";

const AT_ONCE = 6;

export class Pictures {
  #stop = new AbortController();
  #urls = [];
  #queue = [];
  #busy = 0;

  /** An <img> that fills once its bytes are here; `path` is the API's. */
  show(path, alt, attributes = {}) {
    const image = el("img", { alt, ...attributes });
    this.#queue.push({ path, image, tries: 2 });
    this.#next();
    return image;
  }

  /** An <img> of a file that is at hand already. */
  showFile(file, alt, attributes = {}) {
    return el("img", { alt, src: this.#url(file), ...attributes });
  }

  /** Revoke every URL, and fetch no more. */
  release() {
    this.#stop.abort();
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

  async #load(wanted) {
    const signal = this.#stop.signal;
    try {
      const blob = await bytesOf(wanted.path, signal);
      if (signal.aborted) return;
      wanted.image.src = this.#url(blob);
      wanted.image.classList.add("here");
    } catch (error) {
      if (signal.aborted) return;
      if (error.retryAfterS && wanted.tries > 0) {
        setTimeout(() => this.#again(wanted), error.retryAfterS * 1000);
      } else wanted.image.classList.add("gone");
    }
  }

  #again(wanted) {
    if (this.#stop.signal.aborted) return;
    wanted.tries -= 1;
    this.#queue.push(wanted);
    this.#next();
  }
}
