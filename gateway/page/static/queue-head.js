// The head of the queue: how far a person is, whose labels they are, and what was answered.

import { el } from "/page/dom.js";
import { count } from "/page/format.js";

const BY = "lalafo-given-by"; // as the feedback form of an ad has it

/** Returns {node, by, tools, draw}. `undo` takes the last answer back. */
export function queueHead(undo) {
  const by = el("input", {
    id: "queue-by",
    maxlength: 200,
    autocomplete: "name",
    value: sessionStorage.getItem(BY) ?? "",
    onchange: (event) => sessionStorage.setItem(BY, event.target.value.trim()),
  });
  const where = el("strong", {});
  const bar = el("progress", { "aria-label": "Ads looked at", max: 1, value: 0 });
  const counts = el("span", { class: "hint" });
  const again = el(
    "button",
    { type: "button", onclick: () => undo() },
    "Undo ",
    el("kbd", {}, "Z"),
  );
  const tools = el("span", { class: "row tools" }, again);
  const node = el(
    "div",
    { class: "queue-head" },
    el("span", { class: "row where" }, where, bar, counts),
    el("span", { class: "by" }, el("label", { for: by.id }, "Your name"), by),
    tools,
  );

  /** `held`: the number of labels that are not sent yet. */
  function draw({ ads, at, more, steps }, held) {
    const total = `${count(ads.length)}${more ? "+" : ""}`;
    const of = (kind) => steps.filter((step) => step.kind === kind).length;
    where.textContent = `${count(Math.min(at + 1, ads.length))} of ${total}`;
    bar.max = Math.max(1, ads.length);
    bar.value = at;
    again.disabled = steps.length === 0;
    counts.textContent = [
      `${count(of("accepted"))} accepted`,
      `${count(of("corrected"))} corrected`,
      held > 0 && `${count(held)} not sent yet`,
    ]
      .filter(Boolean)
      .join(" · ");
  }

  return { node, by, tools, draw };
}
