// The API key: in this tab's sessionStorage alone, asked for when the API says 401.

const NAME = "lalafo-key";
let asking = null;

export function key() {
  return sessionStorage.getItem(NAME);
}

/** Ask for a key; whether one was given. Those who ask meanwhile share the dialog. */
export function askForKey(why) {
  asking ??= ask(why).finally(() => {
    asking = null;
  });
  return asking;
}

function ask(why) {
  const dialog = document.getElementById("key-dialog");
  const form = document.getElementById("key-form");
  const input = document.getElementById("key-input");
  const back = document.activeElement;
  document.getElementById("key-why").textContent = why;
  input.value = "";
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    const done = (given) => {
      form.removeEventListener("submit", submit);
      dialog.removeEventListener("close", close);
      dialog.close();
      back?.focus?.();
      resolve(given);
    };
    const submit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(NAME, input.value.trim());
      done(true);
    };
    const close = () => done(false);
    form.addEventListener("submit", submit);
    dialog.addEventListener("close", close);
  });
}

/** The button that sets or changes the key by hand. */
export function watchKeyButton(changed) {
  document.getElementById("key-cancel").addEventListener("click", () => {
    document.getElementById("key-dialog").close();
  });
  document.getElementById("key-button").addEventListener("click", async () => {
    const why = key() ? "A key is set; another one takes its place." : "No key is set.";
    if (await askForKey(why)) changed();
  });
}
