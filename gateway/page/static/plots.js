// A line plot in SVG: axes, areas, and a crosshair for pointer and keyboard. Makes no API calls.

import { el, fill, svg } from "/page/dom.js";
import { clock } from "/page/format.js";
import { EDGE, gridLines, HEIGHT, hourLabels, ticks } from "/page/plot-axes.js";
import { markLines, marksAt } from "/page/plot-marks.js";

/**
 * A plot of values over time. `update(times, series)`: times are ascending Dates; a series is
 * {name, values}, and an unknown value is null; marks are the changes that happened meanwhile. The
 * crosshair keeps its position.
 */
export class LinePlot {
  #times = [];
  #series = [];
  #marks = [];
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

  update(times, series, marks = []) {
    this.#times = times;
    this.#series = series;
    this.#marks = marks;
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
      gridLines(marks, scale.y, { width: this.#width, format: this.format }),
      hourLabels(this.#times, scale.x, this.#width),
      markLines(this.#marks, this.#times, scale.x),
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
    const marked = this.#at === null ? [] : marksAt(this.#marks, this.#times, at);
    const values = this.#series.map((one) => [
      one.name,
      one.values[at] === null ? "–" : this.format(one.values[at]),
    ]);
    fill(
      this.readout,
      el("span", { class: "hint" }, clock(time, false)),
      marked.map((mark) => el("span", { class: `mark-name ${mark.kind}` }, mark.title)),
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
      `${clock(time, false)}: ${[...values.map((pair) => pair.join(" ")), ...marked.map((mark) => mark.title)].join(", ")}`,
    );
  }
}
