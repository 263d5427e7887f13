// The labels that a person gives one after another: each is sent a little later, so that it can
// still be taken back. The API has no way to remove a label that is stored.

import { adPath, call } from "/page/api.js";
import { addLabels } from "/page/labels.js";

export const HELD_MS = 8_000;

/** `changed()` is called when a label was stored or refused. */
export class Decisions {
  #held = []; // {ad, label, by, timer}, oldest first
  #failed = []; // the same, with the error
  stored = 0;

  constructor(changed) {
    this.changed = changed;
    // A page that is left sends what it holds.
    window.addEventListener("pagehide", () => this.flush());
    document.addEventListener("visibilitychange", () => document.hidden && this.flush());
  }

  get held() {
    return this.#held.length;
  }

  get failed() {
    return this.#failed;
  }

  decide(ad, label, by) {
    const one = { ad, label, by };
    one.timer = setTimeout(() => this.#send(one), HELD_MS);
    this.#held.push(one);
  }

  /** Take a decision about an ad back; false if its label was sent already. */
  undo(ad) {
    const at = this.#held.findLastIndex((one) => one.ad === ad);
    if (at < 0) return false;
    clearTimeout(this.#held[at].timer);
    this.#held.splice(at, 1);
    return true;
  }

  flush() {
    for (const one of [...this.#held]) {
      clearTimeout(one.timer);
      this.#send(one);
    }
  }

  retry() {
    for (const one of this.#failed.splice(0)) this.#send(one);
  }

  async #send(one) {
    const { ad, label, by } = one;
    this.#held = this.#held.filter((other) => other !== one);
    try {
      const json = { task: "category", label, given_by: by };
      const path = `${adPath(ad.catalog, ad.ad_id)}/feedback`;
      await call(path, { method: "POST", json, keepalive: true });
      addLabels([label]);
      ad.labels.category = label;
      this.stored += 1;
    } catch (error) {
      this.#failed.push({ ...one, error });
    }
    this.changed();
  }
}
