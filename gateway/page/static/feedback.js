// The feedback form: its label is stored and used in the next training set.

import { adPath, call } from "/page/api.js";
import { combobox } from "/page/combobox.js";
import { card, el, field, fill } from "/page/dom.js";
import { share } from "/page/format.js";
import { addLabels, knownLabels } from "/page/labels.js";
import { errorNotice, notice } from "/page/notices.js";

const BY = "lalafo-given-by";

/** The form of an ad; `given_by` is stored in this tab's sessionStorage. */
export function feedbackForm(ad) {
  const tasks = Object.keys(ad.predictions);
  if (!tasks.includes("category")) tasks.unshift("category");
  for (const [label] of ad.predictions.category?.details.top ?? []) addLabels([label]);
  const task = el(
    "select",
    { id: "task" },
    tasks.map((name) => el("option", { value: name }, name)),
  );
  const { node: box, input: label } = combobox({
    options: () => options(ad, task.value),
    attributes: { id: "label", required: true, maxlength: 200, dir: "auto" },
  });
  const by = el("input", {
    id: "given-by",
    required: true,
    maxlength: 200,
    autocomplete: "name",
    value: sessionStorage.getItem(BY) ?? "",
  });
  const response = el("div", { class: "response" });
  const submit = el("button", { type: "submit", class: "main" }, "Send");
  knownLabels(); // read before the list opens
  const send = async () => {
    submit.disabled = true;
    sessionStorage.setItem(BY, by.value.trim());
    const json = { task: task.value, label: label.value.trim(), given_by: by.value.trim() };
    try {
      const { body } = await call(`${adPath(ad.catalog, ad.ad_id)}/feedback`, {
        method: "POST",
        json,
      });
      fill(response, saved(body));
      addLabels([json.label]);
    } catch (error) {
      fill(response, errorNotice(error, send));
    } finally {
      submit.disabled = false;
    }
  };
  const form = el(
    "form",
    {
      class: "feedback",
      onsubmit: (event) => {
        event.preventDefault();
        send();
      },
    },
    tasks.length > 1 ? field("Task", task) : null,
    el(
      "div",
      { class: "field" },
      el("label", { for: "label" }, tasks.length > 1 ? "Correct label" : "Correct category"),
      box,
    ),
    field("Given by", by),
    el("p", { class: "row" }, submit, confirmButton(ad, task, label)),
  );
  return card("What is right?", "a label for the next training", form, response);
}

function saved(body) {
  const unknown = body.known
    ? ""
    : " The live release can't predict this label yet; it is in the next training set.";
  const stored = body.published
    ? "The label is stored."
    : "The label is stored; it is published to Kafka once Kafka is available.";
  return notice(`Label saved: ${body.label}`, stored + unknown);
}

/** The labels to offer: the predicted ones with their scores, then every other known one. */
function options(ad, task) {
  const top = ad.predictions[task]?.details.top ?? [];
  const predicted = top.map(([value, score]) => ({ value, hint: share(score) }));
  const names = new Set(top.map(([value]) => value));
  const others = knownLabels(task).filter((value) => !names.has(value));
  return [...predicted, ...others.map((value) => ({ value, hint: null }))];
}

/** A button that gives the predicted label. */
function confirmButton(ad, task, label) {
  const prediction = () => ad.predictions[task.value];
  if (!prediction()) return null;
  return el(
    "button",
    {
      type: "button",
      onclick: (event) => {
        label.value = prediction().label;
        event.target.form.requestSubmit();
      },
    },
    "The answer is right",
  );
}
