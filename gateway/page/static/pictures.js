// Loads photos with the API key and shows them as blob URLs; a view releases all of them together.

import { bytesOf } from "/page/api.js";
import { el } from "/page/dom.js";

const AT_ONCE = 6;

export class Pictures {
  #stop = new AbortController();
  #urls = [];
  #queue = [];
  #busy = 0;

  /** An <img> that is shown once its bytes are loaded; `path` is a path of the API. */
  show(path, alt, attributes = {}) {
    const image = el("img", { alt, ...attributes });
    this.#queue.push({ path, image, tries: 2 });
    this.#next();
    return image;
  }

  /** An <img> of a local file. */
  showFile(file, alt, attributes = {}) {
    return el("img", { alt, src: this.#url(file), ...attributes });
  }

  /** Revoke every URL, and stop loading. */
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
    this.#queue.push(item);
    this.#next();
  }
}
