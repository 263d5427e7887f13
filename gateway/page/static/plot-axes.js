// The axes of a plot: its ticks, grid lines and hours.

import { svg } from "/page/dom.js";
import { clock } from "/page/format.js";

export const HEIGHT = 148;
export const EDGE = { top: 14, right: 8, bottom: 20, left: 46 };
const GRID_LINES = 4;
const LABEL_WIDTH = 64;

/** Ticks in steps of 1, 2 or 5 times a power of ten, from 0 to the first one at or above `max`. */
export function ticks(max) {
  if (!(max > 0)) return [0, 1];
  const rough = max / GRID_LINES;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10]
    .map((factor) => factor * power)
    .find((candidate) => candidate >= rough);
  const marks = [];
  for (let at = 0; at < max + step; at += step) marks.push(at);
  return marks;
}

export function gridLines(marks, y, { width, format }) {
  return marks.map((mark) => [
    svg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(mark), y2: y(mark) }),
    svg(
      "text",
      { class: "tick", x: EDGE.left - 6, y: y(mark) + 4, "text-anchor": "end" },
      format(mark),
    ),
  ]);
}

export function hourLabels(times, x, width) {
  const fit = Math.max(2, Math.floor((width - EDGE.left) / LABEL_WIDTH));
  const each = Math.max(1, Math.ceil(times.length / fit));
  const last = times.length - 1;
  return times
    .map((time, index) => [time, index])
    .filter(([, index]) => (last - index) % each === 0 && x(index) > EDGE.left + 12)
    .map(([time, index]) =>
      svg(
        "text",
        {
          class: "tick",
          x: x(index) + (index === last ? EDGE.right : 0),
          y: HEIGHT - 4,
          "text-anchor": index === last ? "end" : "middle",
        },
        clock(time, false),
      ),
    );
}
