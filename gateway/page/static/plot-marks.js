// Changes on a plot: a line at each, and a band for each time without a session.

import { svg } from "/page/dom.js";
import { EDGE, HEIGHT } from "/page/plot-axes.js";

const MINUTE_MS = 60_000;

/** The position of a time between the minutes of a plot, as an index with a fraction. */
const position = (times, at) => (at - times[0]) / MINUTE_MS;

/** `marks`: [{at, until, kind, title}] with Dates; `until` is null for a moment. */
export function markLines(marks, times, x) {
  if (!times.length) return [];
  const last = times.length - 1;
  return marks.map((mark) => {
    const from = Math.max(0, position(times, mark.at));
    const to = Math.min(last, position(times, mark.until ?? mark.at));
    if (from > last || to < 0) return null;
    const title = svg("title", {}, mark.title);
    if (mark.until)
      return svg(
        "rect",
        {
          class: "mark-band",
          x: x(from),
          width: Math.max(2, x(to) - x(from)),
          y: EDGE.top,
          height: HEIGHT - EDGE.top - EDGE.bottom,
        },
        title,
      );
    const at = x(from);
    return svg(
      "g",
      { class: `mark-line ${mark.kind}` },
      title,
      svg("line", { x1: at, x2: at, y1: EDGE.top, y2: HEIGHT - EDGE.bottom }),
      svg("path", { d: `M${at - 5},${EDGE.top - 10}h10l-5,9z` }),
    );
  });
}

/** The marks in the minute of an index. */
export function marksAt(marks, times, index) {
  const [from, to] = [times[index].getTime(), times[index].getTime() + MINUTE_MS];
  return marks.filter(({ at, until }) => at < to && (until ?? at) >= from);
}
