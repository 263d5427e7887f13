// The form that says what is right: it becomes a label, and with it the next training set.

import { adPath, call } from "/page/api.js";
import { card, el, field, fill } from "/page/dom.js";
import { labelsSeen, sawLabels } from "/page/labels.js";
import { errorNotice, notice } from "/page/notices.js";

const BY = "lalafo-given-by";

/** The form of one ad; `given_by` is remembered in this tab. */
export function feedbackForm(ad) {
  const tasks = Object.keys(ad.predictions);
  if (!tasks.includes("category")) tasks.unshift("category");
  for (const [label] of ad.predictions.category?.details.top ?? []) sawLabels([label]);
  const task = el(
    "select",
    { id: "task" },
    tasks.map((name) => el("option", { value: name }, name)),
  );
  const known = el("datalist", { id: "labels" });
  const label = el("input", {
    id: "label",
    required: true,
    maxlength: 200,
    list: "labels",
    autocomplete: "off",
    onfocus: () => suggest(known),
  });
  const by = el("input", {
    id: "given-by",
    required: true,
    maxlength: 200,
    value: sessionStorage.getItem(BY) ?? "",
  });
  const said = el("div", { class: "told" });
  const submit = el("button", { type: "submit", class: "main" }, "Send");
  suggest(known);
  const send = async () => {
    submit.disabled = true;
    sessionStorage.setItem(BY, by.value.trim());
    const json = { task: task.value, label: label.value.trim(), given_by: by.value.trim() };
    try {
      const { body } = await call(`${adPath(ad.catalog, ad.ad_id)}/feedback`, {
        method: "POST",
        json,
      });
      fill(said, thanks(body));
      sawLabels([json.label]);
    } catch (error) {
      fill(said, errorNotice(error, send));
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
    field(tasks.length > 1 ? "Right answer" : "Right category", label),
    field("Said by", by),
    submit,
    known,
  );
  return card("What is right?", "becomes a label for training", form, said);
}

function thanks(body) {
  const unknown = body.known
    ? ""
    : " The live release does not know it yet: the next training set will.";
  const way = body.published
    ? "It is a label now."
    : "It is a label now; its record goes to Kafka once Kafka is back.";
  return notice(`Thank you: ${body.label}`, way + unknown);
}

function suggest(list) {
  fill(
    list,
    labelsSeen().map((label) => el("option", { value: label })),
  );
}
