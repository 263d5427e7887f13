// The tab Live.
import { el, fill } from "/page/dom.js";
export function liveView(panel) {
  fill(panel, el("p", { class: "hint" }, "…"));
  return { show() {}, hide() {} };
}
