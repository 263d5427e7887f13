// A line plot in SVG: axes, areas, and a crosshair for pointer and keyboard. Makes no API calls.

import { el, fill, svg } from "/page/dom.js";
import { clock } from "/page/format.js";

const HEIGHT = 148;
const EDGE = { top: 8, right: 8, bottom: 20, left: 46 };
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

/**
 * A plot of values over time. `update(times, series)`: times are ascending Dates; a series is
 * {name, values}, and an unknown value is null. The crosshair keeps its position.
 */
export class LinePlot {
  #times = [];
  #series = [];
  #at = null; // index of the crosshair; null: none
  #width = 0;

  constructor(title, format, { area = false } = {}) {
    this.title = title;
    this.format = format;
    this.area = area;
    this.readout = el("span", { class: "readout" });
    this.chart = svg("svg", {
      class: "chart",
      tabindex: 0,
      role: "slider",
      "aria-label": `${title}: time`,
      "aria-valuemin": 0,
    });
    this.empty = el("p", { class: "hint none" }, "No data in this period.");
    this.node = el(
      "figure",
      { class: "card plot" },
      el("figcaption", {}, el("h2", {}, title), this.readout),
      this.chart,
      this.empty,
    );
    this.#listen();
    new ResizeObserver(() => this.#draw()).observe(this.node);
  }

  update(times, series) {
    this.#times = times;
    this.#series = series;
    if (this.#at !== null) this.#at = Math.min(this.#at, times.length - 1);
    this.#draw();
  }

  #listen() {
    const chart = this.chart;
    chart.addEventListener("pointermove", (event) => this.#point(event));
    chart.addEventListener("pointerdown", (event) => this.#point(event));
    chart.addEventListener("pointerleave", () => this.#move(null));
    chart.addEventListener("focus", () => this.#move(this.#at ?? this.#times.length - 1));
    chart.addEventListener("blur", () => this.#move(null));
    chart.addEventListener("keydown", (event) => {
      const last = this.#times.length - 1;
      const at = this.#at ?? last;
      const to = {
        ArrowLeft: at - 1,
        ArrowRight: at + 1,
        PageUp: at + 10,
        PageDown: at - 10,
        Home: 0,
        End: last,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.#move(Math.max(0, Math.min(last, to)));
    });
  }

  #point(event) {
    if (!this.#times.length) return;
    const x = event.clientX - this.chart.getBoundingClientRect().left;
    const shares = (x - EDGE.left) / Math.max(1, this.#width - EDGE.left - EDGE.right);
    const last = this.#times.length - 1;
    this.#move(Math.max(0, Math.min(last, Math.round(shares * last))));
  }

  #move(at) {
    this.#at = this.#times.length && at !== null && at >= 0 ? at : null;
    this.#draw();
  }

  #draw() {
    const known = this.#series.some((one) => one.values.some((value) => value !== null));
    this.empty.hidden = known;
    this.chart.toggleAttribute("hidden", !known);
    this.#updateReadout();
    if (!known || !this.node.clientWidth) return;
    this.#width = this.chart.clientWidth || this.node.clientWidth;
    const max = Math.max(
      0,
      ...this.#series.flatMap((one) => one.values.map((value) => value ?? 0)),
    );
    const marks = ticks(max);
    const scale = this.#scale(marks.at(-1));
    this.chart.setAttribute("viewBox", `0 0 ${this.#width} ${HEIGHT}`);
    this.chart.setAttribute("height", HEIGHT);
    fill(
      this.chart,
      this.#grid(marks, scale),
      this.#hours(scale),
      this.#series.map((one, index) => this.#line(one, index, scale)),
      this.#cross(scale),
    );
  }

  #scale(max) {
    const wide = this.#width - EDGE.left - EDGE.right;
    const high = HEIGHT - EDGE.top - EDGE.bottom;
    const last = Math.max(1, this.#times.length - 1);
    return {
      x: (index) => EDGE.left + (wide * index) / last,
      y: (value) => EDGE.top + high * (1 - value / max),
    };
  }

  #grid(marks, { y }) {
    return marks.map((mark) => [
      svg("line", {
        class: "grid",
        x1: EDGE.left,
        x2: this.#width - EDGE.right,
        y1: y(mark),
        y2: y(mark),
      }),
      svg(
        "text",
        { class: "tick", x: EDGE.left - 6, y: y(mark) + 4, "text-anchor": "end" },
        this.format(mark),
      ),
    ]);
  }

  #hours({ x }) {
    const fit = Math.max(2, Math.floor((this.#width - EDGE.left) / LABEL_WIDTH));
    const each = Math.max(1, Math.ceil(this.#times.length / fit));
    const shown = this.#times
      .map((time, index) => [time, index])
      .filter(([, index]) => (this.#times.length - 1 - index) % each === 0);
    return shown
      .filter(([, index]) => x(index) > EDGE.left + 12)
      .map(([time, index]) => {
        const end = index === this.#times.length - 1;
        return svg(
          "text",
          {
            class: "tick",
            x: x(index) + (end ? EDGE.right : 0),
            y: HEIGHT - 4,
            "text-anchor": end ? "end" : "middle",
          },
          clock(time, false),
        );
      });
  }

  #line(one, index, { x, y }) {
    const runs = [];
    let run = [];
    one.values.forEach((value, at) => {
      if (value === null) {
        if (run.length) runs.push(run);
        run = [];
      } else run.push([x(at), y(value)]);
    });
    if (run.length) runs.push(run);
    return runs.map((points) => {
      const path = points.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join("L");
      const [from, to] = [points[0][0], points.at(-1)[0]];
      return [
        this.area &&
          index === 0 &&
          svg("path", { class: "area", d: `M${from},${y(0)}L${path}L${to},${y(0)}Z` }),
        points.length === 1
          ? svg("circle", { class: `dot line-${index}`, cx: from, cy: points[0][1], r: 2.5 })
          : svg("path", { class: `line line-${index}`, d: `M${path}` }),
      ];
    });
  }

  #cross({ x, y }) {
    if (this.#at === null) return [];
    const at = x(this.#at);
    return [
      svg("line", { class: "cross", x1: at, x2: at, y1: EDGE.top, y2: HEIGHT - EDGE.bottom }),
      this.#series.map((one, index) => {
        const value = one.values[this.#at];
        return value === null
          ? null
          : svg("circle", { class: `dot line-${index}`, cx: at, cy: y(value), r: 3.5 });
      }),
    ];
  }

  /** Show the values at the crosshair, or the latest ones. */
  #updateReadout() {
    const at = this.#at ?? this.#times.length - 1;
    const time = this.#times[at];
    if (!time) {
      fill(this.readout);
      return;
    }
    const values = this.#series.map((one) => [
      one.name,
      one.values[at] === null ? "–" : this.format(one.values[at]),
    ]);
    fill(
      this.readout,
      el("span", { class: "hint" }, clock(time, false)),
      values.map(([name, text], index) =>
        el(
          "span",
          {},
          el("span", { class: `key line-${index}` }),
          `${name} `,
          el("strong", {}, text),
        ),
      ),
    );
    this.chart.setAttribute("aria-valuemax", Math.max(0, this.#times.length - 1));
    this.chart.setAttribute("aria-valuenow", Math.max(0, at));
    this.chart.setAttribute(
      "aria-valuetext",
      `${clock(time, false)}: ${values.map((pair) => pair.join(" ")).join(", ")}`,
    );
  }
}
