// The figures above the feeds: one line per outcome, from before to after, with its interval.

import { h, many, percent, plain, short } from "./words.js";

const MAIN_KNOWN = ["is_toxic", "is_misinformation", "is_outrage", "is_graphic", "is_clickbait", "angry_share"];
const MAIN_ESTIMATED = ["toxicity", "misinformation", "moral_outrage", "graphic_violence", "clickbait", "angry_share"];
const MAIN_ACTIVITY = ["positive_activity", "comments", "reshares"];
const NAMES = { positive_activity: "Positive activity", all_activity: "All activity" };
const VERDICTS = {
  EQUIVALENT: ["unaffected", (margin) => `Equivalent within a margin of ${margin}.`],
  "NON-INFERIOR": ["no real loss", (margin) => `Not inferior: no loss beyond the margin of ${margin}.`],
  INFERIOR: ["a real loss", (margin) => `Inferior: the loss is beyond the margin of ${margin}.`],
  "DIFFERENT-WITHIN-MARGIN": ["differs little", (margin) => `Different, but within the margin of ${margin}.`],
  INCONCLUSIVE: ["inconclusive", (margin) => `Inconclusive: the interval crosses the margin of ${margin}.`],
};

export class Figures {
  /** Tables in two places: the main outcomes, and all others. */
  constructor(main, more, note, scope) {
    this.places = { main, more };
    this.note = note;
    this.scope = scope;
    this.lines = new Map();
    this.shape = "";
  }

  show(figures) {
    const known = figures.rows.some((row) => row.source === "known");
    const wanted = new Set([...(known ? MAIN_KNOWN : MAIN_ESTIMATED), ...MAIN_ACTIVITY]);
    const split = { main: [], more: [] };
    for (const row of figures.rows) split[wanted.has(row.metric) ? "main" : "more"].push(row);
    if (!split.main.length) [split.main, split.more] = [split.more, []];
    const shape = JSON.stringify([split.main, split.more].map((rows) => rows.map((row) => row.metric)));
    if (shape !== this.shape) {
      this.shape = shape;
      this.lines.clear();
      for (const [place, rows] of Object.entries(split)) this.places[place].replaceChildren(this.table(place, rows));
      document.getElementById("more").hidden = !split.more.length;
    }
    for (const [place, rows] of Object.entries(split)) {
      const reach = extent(rows);
      for (const row of rows) this.lines.get(row.metric)(row, reach);
      for (const axis of this.places[place].querySelectorAll(".axis")) drawAxis(axis, reach);
    }
    this.describe(figures);
  }

  describe(figures) {
    const who = figures.cluster === "users" ? many(figures.n_clusters, "person", "people") : "single requests";
    this.scope.textContent = `${many(figures.n_requests, "feed")} of ${who}, original → treatment`;
    const known = figures.rows.some((row) => row.source === "known");
    const unscored = figures.rows.some((row) => row.status === "REFUSED" && row.share_unscored > 0);
    const own = figures.rows.some((row) => row.own_ruler);
    this.note.replaceChildren(
      `Shown: the ${figures.shown.replace("(at least 5)", "of each feed, at least 5 posts")}. 95 % intervals, resampling `,
      `${figures.cluster}. This says what people would see, not what they would then do.`,
      known ? ` Harms above are the sample’s own truth${own ? "; what the classifier estimates is under All measures" : ""}.` : "",
      own && !known ? " Harms are measured by the classifier that also demotes: an independent measure is needed to claim a fall." : "",
      unscored ? " ◇: among posts that could be scored only; too many could not for a claim about all." : "",
    );
  }

  table(place, rows) {
    const body = (kind, heading, ideal) => {
      const found = rows.filter((row) => row.kind === kind);
      if (!found.length) return null;
      const head = h(
        "tr",
        { class: "group" },
        h("th", { scope: "rowgroup" }, `${heading} `, h("span", { class: "muted" }, ideal)),
        h("td", { class: "axis-cell" }, h("div", { class: "axis", "aria-hidden": "true" })),
        h("td", {}),
      );
      return h("tbody", {}, head, ...found.map((row) => this.line(row, place === "more")));
    };
    const head = ["Outcome", "Change with interval", "Change"].map((text) => h("th", { scope: "col" }, h("span", { class: "visually-hidden" }, text)));
    return h(
      "table",
      { class: "forest" },
      h("caption", { class: "visually-hidden" }, place === "main" ? "Exposure and activity" : "All other measures"),
      h("thead", {}, h("tr", {}, ...head)),
      body("exposure", "Exposure to harm", "per 1,000 shown"),
      body("activity", "Activity", "per post shown"),
    );
  }

  line(first, tagged) {
    const amounts = h("span", { class: "amounts" });
    const tag = tagged && first.source !== "observed" ? h("span", { class: "tag" }, first.source) : null;
    const name = NAMES[first.metric] ?? first.title.replace(" (known)", "");
    const stem = h("i", { class: "stem" });
    const whisker = h("i", { class: "whisker" });
    const dot = h("i", { class: "dot-mark" });
    const plot = h("div", { class: "plot", "aria-hidden": "true" }, h("i", { class: "zero" }), stem, whisker, dot);
    const change = h("strong", {});
    const interval = h("span", { class: "interval" });
    const row = h(
      "tr",
      { "data-metric": first.metric },
      h("th", { scope: "row", title: `${first.meaning}.` }, h("div", { class: "pair" }, h("span", { class: "name" }, name, " ", tag), amounts)),
      h("td", { class: "plot-cell" }, plot),
      h("td", { class: "change" }, h("div", { class: "pair" }, change, interval)),
    );
    this.lines.set(first.metric, (figure, reach) => {
      const tone = toneOf(figure);
      row.dataset.tone = tone;
      row.classList.toggle("partial", figure.status === "REFUSED");
      const per = figure.unit === "count" ? 1 : 1000;
      const [before, after] = [figure.original, figure.treatment].map((v) => (v === null ? null : v * per));
      const verdict = VERDICTS[figure.decision];
      const said = before === null ? "not measured" : `${short(before)} → ${short(after)}`;
      amounts.replaceChildren(said, verdict ? h("span", { class: "verdict", title: verdict[1](`${plain(100 * figure.margin, 1)} %`) }, verdict[0]) : "");
      change.textContent = figure.direction === "identical" ? "same" : percent(figure.relative);
      const partial = figure.status === "REFUSED" && figure.share_unscored > 0 ? " ◇" : "";
      interval.textContent = aside(figure) + partial;
      place(plot, { stem, whisker, dot }, figure, reach);
    });
    return row;
  }
}

function aside(figure) {
  if (figure.relative === null || figure.direction === "identical") return "";
  if (figure.low === null) return "no interval";
  const [low, high] = [figure.low, figure.high].map((end) => percent(end, Math.abs(end) < 0.01 ? 1 : 0).replace(" %", ""));
  return `${low} to ${high}`;
}

/** better, worse or open: what the interval says for the goal. */
export function toneOf(figure) {
  if (!["decreased", "increased"].includes(figure.direction)) return "open";
  return (figure.direction === "decreased") === (figure.kind === "exposure") ? "better" : "worse";
}

/** The ends of the common axis, in steps of a half; what lies beyond is drawn at the end. */
function extent(rows) {
  const known = rows.flatMap((row) => [row.relative, row.low, row.high]).filter((value) => value !== null);
  const low = Math.max(-1, Math.floor(2 * Math.min(-0.5, ...known)) / 2);
  const high = Math.min(1, Math.ceil(2 * Math.max(0.5, ...known)) / 2);
  return [low, high];
}

const at = (value, [low, high]) => 100 * Math.min(1, Math.max(0, (value - low) / (high - low)));

function place(plot, marks, figure, reach) {
  const { stem, whisker, dot } = marks;
  plot.style.setProperty("--zero", `${at(0, reach)}%`);
  plot.classList.toggle("empty", figure.relative === null);
  if (figure.relative === null) return;
  const value = at(figure.relative, reach);
  const [low, high] = [figure.low ?? figure.relative, figure.high ?? figure.relative].map((end) => at(end, reach));
  dot.style.left = `${value}%`;
  stem.style.left = `${Math.min(value, at(0, reach))}%`;
  stem.style.width = `${Math.abs(value - at(0, reach))}%`;
  whisker.style.left = `${low}%`;
  whisker.style.width = `${high - low}%`;
}

function drawAxis(axis, reach) {
  const ticks = [];
  for (let value = reach[0]; value <= reach[1] + 1e-9; value += 0.5) {
    const tick = h("span", {}, value === 0 ? "0" : percent(value, 0));
    tick.style.left = `${at(value, reach)}%`;
    ticks.push(tick);
  }
  axis.replaceChildren(...ticks);
}
