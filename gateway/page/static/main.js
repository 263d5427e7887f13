// Starts the page: the tabs, the hash, and the view of the current tab.

import { adsView } from "/page/ads.js";
import { watchNotices } from "/page/banner.js";
import { watchDrops } from "/page/drop.js";
import { watchKeyButton } from "/page/key.js";
import { liveView } from "/page/live.js";
import { lookView } from "/page/look.js";
import { go, parsed } from "/page/route.js";

const VIEWS = { look: lookView, live: liveView, ads: adsView };
const names = Object.keys(VIEWS);
const panels = Object.fromEntries(
  names.map((name) => [name, document.getElementById(`panel-${name}`)]),
);
const tabs = Object.fromEntries(
  names.map((name) => [name, document.getElementById(`tab-${name}`)]),
);
const views = {};
const last = Object.fromEntries(names.map((name) => [name, `#/${name}`]));
const refreshNotices = watchNotices(document.getElementById("banners"));
let shown = null;

function show() {
  const route = parsed(location.hash);
  const returned = shown !== null && shown !== route.tab;
  last[route.tab] = location.hash || "#/look";
  if (shown && shown !== route.tab) views[shown].hide();
  for (const name of names) {
    const selected = name === route.tab;
    panels[name].hidden = !selected;
    tabs[name].setAttribute("aria-selected", String(selected));
    tabs[name].tabIndex = selected ? 0 : -1;
  }
  shown = route.tab;
  document.title = `${tabs[shown].textContent} · Lalafo Vision`;
  view(shown).show(route, { returned });
  refreshNotices();
}

function view(name) {
  views[name] ??= VIEWS[name](panels[name]);
  return views[name];
}

/** Photos that are dropped or pasted in any tab are scored in the tab Score. */
function score(act) {
  if (document.querySelector("dialog[open]")) return;
  act(view("look"));
  if (shown !== "look") go("#/look");
}

function step(event) {
  const at = names.indexOf(shown);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const name = names[(to + names.length) % names.length];
  tabs[name].focus();
  go(last[name]);
}

for (const name of names) {
  tabs[name].addEventListener("click", () => {
    if (name !== shown) go(last[name]); // the tab of an ad that is open keeps it
  });
  tabs[name].addEventListener("keydown", step);
}
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the link's hash is not one of the tabs
  document.getElementById("panels").focus();
});
watchDrops({
  files: (files) => score((look) => look.files(files)),
  address: (url) => score((look) => look.address(url)),
});
window.addEventListener("hashchange", show);
watchKeyButton(show);
show();
