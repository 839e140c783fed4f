// The sliders of the treatment: they show where the preset stands, and send only what was moved.

import { capital, h, plain, s, words } from "./words.js";

const GROUPS = [
  ["Reactions", ["angry", "love", "care", "haha", "wow", "sad"]],
  ["Comments", ["comment", "significant_comment", "reply", "significant_reply"]],
  ["Reshares", ["reshare", "reshare_with_text", "significant_reshare", "message", "significant_message"]],
];
const REACH = { Reactions: 5, Comments: 30, Reshares: 30 };
const NAMES = {
  comment: "Comment, short",
  significant_comment: "Comment, 5+ words",
  reply: "Reply, short",
  significant_reply: "Reply, 5+ words",
  reshare_with_text: "Reshare with text",
  significant_reshare: "Reshare, 5+ words",
  message: "Private message",
  significant_message: "Message, 5+ words",
};
const SAME = { show: (number) => number, take: (number) => number };
const NEW_CURVE = { start: 0.15, line: 0.5, floor: 0 };

export class Sliders {
  /** Sliders in a form; `changed` is called whenever one moves. */
  constructor(form, changed) {
    this.form = form;
    this.changed = changed;
    this.settings = {};
    this.without = new Set();
    this.added = new Set();
    this.inputs = new Map();
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  /** Show a preset. `signals` are those that the feed has, `labels` those that are scored. */
  show(base, signals, labels) {
    this.base = base;
    this.signals = new Set(signals);
    this.labels = labels;
    this.settings = {};
    this.without.clear();
    this.added.clear();
    this.draw();
  }

  get count() {
    const off = [...this.without].length;
    const keys = Object.keys(this.settings).filter((key) => !this.added.has(key.split(".")[1]));
    return keys.length + off + this.added.size;
  }

  /** The part of an arm that the sliders decide. */
  arm() {
    return { settings: { ...this.settings }, without: [...this.without] };
  }

  draw() {
    this.inputs.clear();
    const ignored = this.base.order_by !== "engagement" || !Object.keys(this.base.weights).length;
    const parts = ignored
      ? [h("p", { class: "hint" }, "This policy does not rank by engagement: weights change nothing in it.")]
      : [this.weights()];
    this.form.replaceChildren(...parts, this.demotions());
  }

  weights() {
    const parts = GROUPS.map(([title, names]) => {
      const rows = names.filter((name) => this.signals.has(name)).map((name) => this.weight(title, name));
      return rows.length ? h("fieldset", {}, h("legend", {}, title), ...rows) : null;
    });
    const unit = h("p", { class: "hint" }, "Worth of one, in likes.");
    if (this.base.bad_weight !== null) parts.push(this.endorsed());
    return h("div", {}, unit, ...parts.filter(Boolean));
  }

  weight(group, name) {
    const value = this.base.weights[name] ?? 0;
    const max = Math.max(REACH[group], Math.ceil(value * 2));
    const min = Math.min(0, Math.floor(value * 2));
    const label = NAMES[name] ?? capital(words(name));
    const range = { min, max, step: max > 10 ? 0.5 : 0.1 };
    const row = this.slider(`weights.${name}`, label, value, range, (number) => plain(number, 2));
    if (this.base.dropped.includes(name)) row.append(h("p", { class: "hint" }, "Dropped by this policy."));
    return row;
  }

  endorsed() {
    const range = { min: 0, max: 1, step: 0.05 };
    const row = this.slider("value.bad_weight", "Counts for", this.base.bad_weight, range, (v) => `${plain(100 * v)} %`);
    return h("fieldset", {}, h("legend", {}, "Engagement that people regret"), row);
  }

  /** One labelled range: it stands at `show` of its number, which is `take` of where it stands. */
  slider(key, label, value, range, write, map = SAME) {
    const id = `slider-${key.replaceAll(".", "-")}`;
    const shown = this.settings[key] ?? value;
    const output = h("output", { for: id }, write(shown));
    const input = h("input", { id, type: "range", ...range, "data-key": key });
    const row = h("div", { class: "slider" }, h("label", { for: id }, label), input, output);
    const paint = (number) => {
      const share = (number - Number(input.min)) / (Number(input.max) - Number(input.min) || 1);
      input.style.setProperty("--filled", `${100 * Math.min(Math.max(share, 0), 1)}%`);
      row.classList.toggle("moved", key in this.settings);
    };
    const put = (number) => {
      input.value = map.show(number);
      output.textContent = write(number);
      input.setAttribute("aria-valuetext", write(number));
      paint(map.show(number));
    };
    put(shown);
    input.addEventListener("input", () => {
      const number = map.take(Number(input.value));
      this.settings[key] = number;
      put(number);
      this.follow(key, number);
      this.changed();
    });
    this.inputs.set(key, put);
    return row;
  }

  /** Move another slider without a person touching it. */
  set(key, number) {
    this.settings[key] = number;
    this.inputs.get(key)?.(number);
  }

  /** A curve's line is never before its start. */
  follow(key, number) {
    const [table, label, part] = key.split(".");
    if (table !== "demotion") return;
    const curve = this.curve(label);
    if (part === "start" && curve.line < number) this.set(`demotion.${label}.line`, number);
    if (part === "line" && curve.start > number) this.set(`demotion.${label}.start`, Math.min(number, 0.99));
    this.drawCurve(label);
  }

  /** How a label is demoted now, or null. */
  curve(label) {
    const base = this.base.demotion[label];
    if (this.without.has(label) || (!base && !this.added.has(label))) return null;
    const at = (part) => this.settings[`demotion.${label}.${part}`] ?? base[part];
    return { start: at("start"), line: at("line"), floor: at("floor") };
  }

  /** The curves in force, by label. */
  curves() {
    const names = [...Object.keys(this.base.demotion), ...this.added];
    return Object.fromEntries(names.map((name) => [name, this.curve(name)]).filter(([, curve]) => curve));
  }

  demotions() {
    const names = [...Object.keys(this.base.demotion), ...this.added];
    const more = this.labels.filter((label) => !names.includes(label));
    const rows = names.map((label) => this.demotion(label));
    const picker = h(
      "select",
      { id: "add-demotion", onchange: (event) => this.add(event.target.value) },
      h("option", { value: "" }, "Demote for something else…"),
      ...more.map((label) => h("option", { value: label }, capital(words(label)))),
    );
    return h(
      "fieldset",
      { class: "demotions" },
      h("legend", {}, "Demotion"),
      rows.length ? null : h("p", { class: "hint" }, "This policy demotes nothing."),
      rows.length && this.base.highest_floor === 0 ? h("p", { class: "hint" }, "From its line on a post keeps nothing of its score; this policy allows no weaker demotion.") : null,
      ...rows,
      more.length ? h("div", { class: "add" }, h("label", { for: "add-demotion", class: "visually-hidden" }, "Demote for something else"), picker) : null,
    );
  }

  demotion(label) {
    const name = capital(words(label));
    const curve = this.curve(label);
    const scored = this.labels.includes(label);
    const id = `demote-${label}`;
    const box = h("input", { id, type: "checkbox", onchange: (event) => this.toggle(label, event.target.checked) });
    box.checked = curve !== null;
    const head = h("div", { class: "demotion-head" }, box, h("label", { for: id }, name));
    const part = h("div", { class: "demotion", "data-label": label }, head);
    if (!scored) head.append(h("span", { class: "hint" }, "not scored here"));
    if (!curve || !scored) return part;
    const base = this.base.demotion[label] ?? NEW_CURVE;
    const key = (end) => `demotion.${label}.${end}`;
    const write = (number) => number.toFixed(2);
    head.append(h("span", { class: "curve", "data-curve": label }));
    if (this.base.highest_floor > 0) part.append(this.strength(key("floor"), base.floor));
    part.append(
      this.slider(key("start"), "Starts at", base.start, { min: 0.01, max: 0.99, step: 0.01 }, write),
      this.slider(key("line"), "Line at", base.line, { min: 0.01, max: 1, step: 0.01 }, write),
    );
    this.drawCurve(label, part);
    return part;
  }

  /** What a post loses at the line: a floor of 0.2 is a strength of 80. */
  strength(key, floor) {
    const least = Math.round(1000 * (1 - this.base.highest_floor)) / 10;
    const write = (kept) => `−${plain(100 * (1 - kept), 1)} %`;
    const map = { show: (kept) => 100 * (1 - kept), take: (lost) => Math.round(100 * (100 - lost)) / 10_000 };
    return this.slider(key, "Strength", floor, { min: least, max: 100, step: 0.5 }, write, map);
  }

  /** The policy says how weak a full demotion may be; weights below 0 change that. */
  limit(highestFloor) {
    if (this.base.highest_floor === highestFloor) return;
    this.base.highest_floor = highestFloor;
    const active = this.form.contains(document.activeElement) ? document.activeElement.id : null;
    this.redrawDemotions(active);
  }

  drawCurve(label, root = this.form) {
    const place = root.querySelector(`[data-curve="${label}"]`);
    const curve = this.curve(label);
    if (!place || !curve) return;
    const [width, height] = [72, 22];
    const x = (p) => 1 + p * (width - 2);
    const y = (kept) => 1 + (1 - kept) * (height - 2);
    const points = [[0, 1], [curve.start, 1], [curve.line, curve.floor], [1, curve.floor]];
    const line = points.map(([p, kept]) => `${x(p).toFixed(1)},${y(kept).toFixed(1)}`).join(" ");
    place.replaceChildren(
      s(
        "svg",
        { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" },
        s("polygon", { points: `${line} ${x(1)},${y(0)} ${x(0)},${y(0)}`, class: "under" }),
        s("polyline", { points: line, class: "over" }),
      ),
    );
  }

  toggle(label, on) {
    const clear = () => {
      for (const part of ["start", "line", "floor"]) delete this.settings[`demotion.${label}.${part}`];
    };
    if (label in this.base.demotion) {
      if (!on) clear();
      if (on) this.without.delete(label);
      else this.without.add(label);
    } else if (!on) {
      clear();
      this.added.delete(label);
    }
    this.redrawDemotions(`demote-${label}`);
    this.changed();
  }

  add(label) {
    if (!label) return;
    this.added.add(label);
    for (const [part, value] of Object.entries(NEW_CURVE)) this.settings[`demotion.${label}.${part}`] = value;
    this.redrawDemotions(`demote-${label}`);
    this.changed();
  }

  redrawDemotions(focus) {
    for (const key of [...this.inputs.keys()]) if (key.startsWith("demotion.")) this.inputs.delete(key);
    this.form.querySelector(".demotions").replaceWith(this.demotions());
    if (focus) (document.getElementById(focus) ?? document.getElementById("add-demotion"))?.focus();
  }
}
