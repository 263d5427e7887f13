// The API key: stored in this tab's sessionStorage, asked for when the API returns 401.

const NAME = "lalafo-key";
let asking = null;

export function key() {
  return sessionStorage.getItem(NAME);
}

/** Use a key from now on; an empty one is none. */
export function setKey(text) {
  if (text) sessionStorage.setItem(NAME, text);
  else sessionStorage.removeItem(NAME);
}

/** Ask for a key; returns whether one was entered. Concurrent calls share the dialog. */
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
  const previous = document.activeElement;
  document.getElementById("key-why").textContent = why;
  input.value = "";
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    const done = (entered) => {
      form.removeEventListener("submit", submit);
      dialog.removeEventListener("close", close);
      dialog.close();
      previous?.focus?.();
      resolve(entered);
    };
    const submit = (event) => {
      event.preventDefault();
      setKey(input.value.trim());
      done(true);
    };
    const close = () => done(false);
    form.addEventListener("submit", submit);
    dialog.addEventListener("close", close);
  });
}

/** Handle the button that sets or changes the key; `changed` is called afterwards. */
export function watchKeyButton(changed) {
  document.getElementById("key-cancel").addEventListener("click", () => {
    document.getElementById("key-dialog").close();
  });
  document.getElementById("key-button").addEventListener("click", async () => {
    const why = key() ? "A key is set. A new key replaces it." : "No key is set.";
    if (await askForKey(why)) changed();
  });
}
