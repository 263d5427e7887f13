// The feedback form: its label is stored and used in the next training set.

import { adPath, call } from "/page/api.js";
import { card, el, field, fill } from "/page/dom.js";
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
  const suggestions = el("datalist", { id: "labels" });
  const label = el("input", {
    id: "label",
    required: true,
    maxlength: 200,
    list: "labels",
    autocomplete: "off",
    onfocus: () => suggest(suggestions),
  });
  const by = el("input", {
    id: "given-by",
    required: true,
    maxlength: 200,
    value: sessionStorage.getItem(BY) ?? "",
  });
  const response = el("div", { class: "response" });
  const submit = el("button", { type: "submit", class: "main" }, "Send");
  suggest(suggestions);
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
    field(tasks.length > 1 ? "Correct label" : "Correct category", label),
    field("Given by", by),
    submit,
    suggestions,
  );
  return card("Feedback", "used as a label for training", form, response);
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

function suggest(list) {
  fill(
    list,
    knownLabels().map((label) => el("option", { value: label })),
  );
}
