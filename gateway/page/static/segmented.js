// Loads what draws masks, for the ads that have some: the start of the page needs none of it.

/** Calls `draw` with the module masks.js if the task segments has answered the ad. */
export async function whereSegmented(ad, draw) {
  if (!ad.predictions?.segments) return;
  draw(await import("/page/masks.js"));
}
