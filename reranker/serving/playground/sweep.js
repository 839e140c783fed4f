// The sweep of the angry reaction's weight: exposure above, activity below, one line per side.

import { h, minus, percent, plain, s } from "./words.js";

const PANEL = 126;
const GAP = 32;
const EDGE = { left: 48, right: 14, top: 20, bottom: 38 };
const ACTIVITY = "positive_activity";

export class SweepChart {
  constructor(place, picker) {
    this.place = place;
    this.picker = picker;
    this.sides = {};
    this.picker.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(place);
  }

  /** Offer these exposures, the first of them chosen unless one is. */
  offer(rows) {
    const names = rows.filter((row) => row.kind === "exposure");
    const wanted = names.map((row) => row.metric).join();
    if (this.offered === wanted) return;
    this.offered = wanted;
    const chosen = this.picker.value || "angry_share";
    const option = (row) => h("option", { value: row.metric }, row.title);
    this.picker.replaceChildren(...names.map(option));
    if (names.some((row) => row.metric === chosen)) this.picker.value = chosen;
  }

  /** The points of one side, `weights` and `rows` as the server gives them, or null while they are made. */
  set(side, points) {
    this.sides[side] = points;
    this.draw();
  }

  /** Where each side's own weight stands. */
  mark(weights) {
    this.marks = weights;
    this.draw();
  }

  draw() {
    const width = Math.max(260, Math.floor(this.place.clientWidth));
    const metric = this.picker.value;
    const sides = Object.entries(this.sides).filter(([, points]) => points?.rows[metric]);
    if (!sides.length) {
      this.place.replaceChildren(h("p", { class: "muted waiting" }, "Ranking the feeds at eight weights…"));
      return;
    }
    const height = EDGE.top + 2 * PANEL + GAP + EDGE.bottom;
    const title = this.picker.selectedOptions[0]?.textContent ?? metric;
    const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": this.inWords(sides, metric, title) });
    const weights = sides[0][1].weights;
    const x = (w) => EDGE.left + (w / weights.at(-1)) * (width - EDGE.left - EDGE.right);
    const panels = [
      [metric, `Exposure to ${lower(title)}, change in %`, EDGE.top],
      [ACTIVITY, "Positive activity, change in %", EDGE.top + PANEL + GAP],
    ];
    for (const [name, heading, top] of panels) svg.append(...this.panel(name, heading, top, sides, x, width));
    const bottom = EDGE.top + 2 * PANEL + GAP;
    for (const weight of [0, 1, 2, 3, 4, 5]) {
      svg.append(s("text", { x: x(weight), y: bottom + 16, class: "tick", "text-anchor": "middle" }, plain(weight)));
    }
    svg.append(s("text", { x: (EDGE.left + width - EDGE.right) / 2, y: bottom + 34, class: "axis-name", "text-anchor": "middle" }, "Weight of one angry reaction, in likes"));
    this.place.replaceChildren(svg, legend(sides));
  }

  panel(metric, heading, top, sides, x, width) {
    const points = sides.map(([side, found]) => [side, (found.rows[metric] ?? []).map((point, i) => [found.weights[i], ...point]).filter((p) => p[1] !== null)]);
    const every = points.flatMap(([, list]) => list.flatMap((point) => point.slice(1))).filter((v) => v !== null);
    const [low, high, step] = scale(every);
    const y = (value) => top + PANEL - ((value - low) / (high - low)) * PANEL;
    const parts = [s("text", { x: EDGE.left, y: top - 7, class: "panel-name" }, heading)];
    for (let value = low; value <= high + step / 2; value += step) {
      const zero = Math.abs(value) < 1e-9;
      parts.push(
        s("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value), class: zero ? "zero" : "grid" }),
        s("text", { x: EDGE.left - 7, y: y(value) + 3.5, class: "tick", "text-anchor": "end" }, zero ? "0" : minus(plain(100 * value, 1))),
      );
    }
    for (const [side, list] of points) {
      if (!list.length) continue;
      const up = list.map((p) => `${x(p[0])},${y(p[3] ?? p[1])}`);
      const down = list.map((p) => `${x(p[0])},${y(p[2] ?? p[1])}`).reverse();
      parts.push(s("polygon", { points: [...up, ...down].join(" "), class: `band ${side}` }));
    }
    for (const [side, list] of points) {
      if (!list.length) continue;
      parts.push(s("polyline", { points: list.map((p) => `${x(p[0])},${y(p[1])}`).join(" "), class: `line ${side}` }));
      const mark = this.marks?.[side];
      if (mark === null || mark === undefined || mark < 0 || mark > list.at(-1)[0]) continue;
      parts.push(s("circle", { cx: x(mark), cy: y(between(list, mark)), r: 4.5, class: `here ${side}` }));
    }
    return parts;
  }

  inWords(sides, metric, title) {
    const say = ([side, found]) => {
      const ends = (name) => [found.rows[name]?.at(0)?.[0] ?? null, found.rows[name]?.at(-1)?.[0] ?? null].map((v) => percent(v));
      const [a, b] = ends(metric);
      const [c, d] = ends(ACTIVITY);
      return `${side}: exposure to ${lower(title)} ${a} at weight 0 and ${b} at weight 5, activity ${c} and ${d}`;
    };
    return `Changes from the original. ${sides.map(say).join("; ")}.`;
  }
}

const lower = (text) => text.charAt(0).toLowerCase() + text.slice(1);

/** The value at a weight on the line between the points around it. */
function between(list, weight) {
  const after = list.findIndex((point) => point[0] >= weight);
  const [b, a] = [list[Math.max(after, 0)], list[Math.max(after - 1, 0)]];
  return b[0] === a[0] ? b[1] : a[1] + ((weight - a[0]) / (b[0] - a[0])) * (b[1] - a[1]);
}

/** Round ends and a step that hold all values and 0. */
function scale(values) {
  const low = Math.min(0, ...values);
  const high = Math.max(0, ...values);
  const span = Math.max(high - low, 0.01);
  const rough = span / 3;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((k) => k * size).find((k) => k >= rough);
  const bottom = Math.floor(low / step + 1e-9) * step;
  const top = Math.ceil(high / step - 1e-9) * step;
  return [bottom, Math.max(top, bottom + step), step];
}

function legend(sides) {
  const entries = sides.map(([side]) => h("span", { class: "entry" }, h("i", { class: `swatch ${side}` }), side === "original" ? "Original’s other settings" : "Treatment’s other settings"));
  return h("p", { class: "legend" }, ...entries, h("span", { class: "entry muted" }, "● as it stands · band: 95 % interval"));
}
