// Routing by the URL's hash: #/look/kg/42, #/live, #/ads?list=failures.

const TABS = ["look", "live", "ads"];

/** Parses a hash to {tab, parts, query}; an unknown tab becomes the first one. */
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
  const present = Object.entries(query).filter(([, value]) => value !== "" && value != null);
  const text = new URLSearchParams(present).toString();
  return `#/${[tab, ...parts].map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

export const adHash = (catalog, adId) => hashOf("look", [catalog, adId]);

export function go(hash) {
  location.hash = hash;
}

/** Set the hash without a hashchange event: the page shows that content already. */
export function pushHash(hash) {
  if (location.hash !== hash) history.pushState(null, "", hash);
}
