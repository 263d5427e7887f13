// Where the page is, as its hash says: #/look/kg/42, #/live, #/ads?list=failures. Links and Back work.

const TABS = ["look", "live", "ads"];

/** {tab, parts, query} of a hash; what is unknown leads to the first tab. */
export function parsed(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [tab, ...parts] = path.split("/").map(decoded);
  return {
    tab: TABS.includes(tab) ? tab : "look",
    parts: parts.filter(Boolean),
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function hashOf(tab, parts = [], query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value != null);
  const text = new URLSearchParams(given).toString();
  return `#/${[tab, ...parts].map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

export const adHash = (catalog, adId) => hashOf("look", [catalog, adId]);

export function go(hash) {
  location.hash = hash;
}

/** Say where the page is without going there: what is shown is shown already. */
export function sayWhere(hash) {
  if (location.hash !== hash) history.pushState(null, "", hash);
}
