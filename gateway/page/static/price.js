// A price range as a bar, with the price that is asked in it.

import { el } from "/page/dom.js";
import { number } from "/page/format.js";

const BADGES = {
  below: ["below the usual prices", "busy"],
  within: ["within the usual prices", "good"],
  above: ["above the usual prices", "bad"],
};
const REASONS = {
  no_currency: "The ad has no currency, so there is no range.",
  unknown_currency: "No prices were learned in this currency, so there is no range.",
  few_ads_in_category: "Too few ads of this category have a price to give a range.",
  no_price: "The seller asks no price.",
  price_not_positive: "The price that the seller asks is not positive.",
  price_implausible: "The price that the seller asks is implausible.",
};
/** The keys of an answer that are drawn. */
export const KEYS = "low middle high currency share asked position reason by".split(" ");

/** An answer with `low`, `middle` and `high`, which may be null: then `reason` says why. */
export function priceAnswer(details, ad) {
  const { low, high, position, reason, by, share } = details;
  const known = Number.isFinite(low) && Number.isFinite(high);
  const [words, kind] = BADGES[position] ?? [];
  const asked = details.asked ?? ownPrice(ad, details.currency);
  const part = Number.isFinite(share) ? `${Math.round(share * 100)} % of prices` : "Most prices";
  return el(
    "div",
    { class: "price-answer" },
    words && el("p", {}, el("span", { class: `chip ${kind}` }, words)),
    known && range({ ...details, price: asked }),
    known &&
      el(
        "p",
        { class: "hint" },
        `${part} lie in the range`,
        by ? `, judged by ads of ${by}.` : ".",
      ),
    reason && el("p", { class: "hint" }, REASONS[reason] ?? reason.replaceAll("_", " ")),
  );
}

/** The ad's own price, if it has the same currency. */
export const ownPrice = (ad, currency) =>
  ad.price !== null && (!currency || ad.currency === currency) ? Number(ad.price) : null;

/** A range with its middle marked, and a price in it. */
export function range({ low, middle, high, currency, price }) {
  const values = [low, middle, high, price].filter(
    (value) => value !== null && value !== undefined,
  );
  const least = Math.min(...values);
  const most = Math.max(...values);
  const room = (most - least || Math.abs(most) || 1) * 0.12;
  const at = (value) => `${((value - least + room) / (most - least + 2 * room)) * 100}%`;
  const unit = currency ?? "";
  const words = `${number(low)} to ${number(high)} ${unit}, most likely ${number(middle)}${price === null ? "" : `; asking price ${number(price)}`}`;
  const between = `calc(${at(high)} - ${at(low)})`;
  return el(
    "div",
    { class: "range", role: "img", "aria-label": words },
    el(
      "div",
      { class: "track" },
      el("span", { class: "between", style: { left: at(low), width: between } }),
      middle != null && el("span", { class: "mark", style: { left: at(middle) } }),
      price !== null && el("span", { class: "asked", style: { left: at(price) } }),
    ),
    el(
      "div",
      { class: "ends" },
      [
        ["low", low],
        ["most likely", middle],
        ["high", high],
        ["asking price", price],
      ]
        .filter(([, v]) => v != null)
        .map(([name, v]) =>
          el("span", {}, el("span", { class: "hint" }, name), ` ${number(v)} ${unit}`),
        ),
    ),
  );
}
