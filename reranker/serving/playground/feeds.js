// Two lists of the same posts. When an order changes, each post travels from where it was to where it is.

import { capital, chance, h, percent, plain, s, short, words } from "./words.js";

const TRAVEL = { duration: 560, easing: "cubic-bezier(.2,.75,.2,1)" };
const SHOWN_HARMS = ["toxicity", "misinformation", "moral_outrage", "graphic_violence"];
const HARM_NAMES = { misinformation: "Misinfo.", moral_outrage: "Outrage", graphic_violence: "Graphic" };
const COUNTS = [
  ["like", "like"], ["angry", "angry"], ["love", "love"], ["haha", "haha"],
  ["comment", "comment"], ["reshare", "reshare"],
];
const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Feeds {
  constructor(lists, links, explain) {
    this.lists = lists;
    this.links = links;
    this.explain = explain;
    this.cards = { original: [], treatment: [] };
    this.revealed = new Set();
    new ResizeObserver(() => this.drawLinks()).observe(lists.treatment);
  }

  /** Show other posts, in the order in which they came. */
  load(posts, info) {
    this.posts = posts;
    this.info = info;
    this.result = null;
    this.lit = null;
    this.harms = SHOWN_HARMS.filter((label) => info.labels.includes(label));
    for (const label of info.labels) if (this.harms.length < 4 && !this.harms.includes(label)) this.harms.push(label);
    for (const side of ["original", "treatment"]) {
      this.cards[side] = posts.map((post, i) => this.card(post, i, side));
      this.lists[side].replaceChildren(...this.cards[side].map((card) => card.item));
    }
    this.links.replaceChildren(...posts.map((_, i) => s("path", { "data-row": i })));
  }

  /** What to do on a result of the server; `curves` are the demotions in force, for the marks on the bars. */
  update(result, curves) {
    const first = this.result === null;
    this.result = result;
    const before = first || still.matches ? null : this.tops();
    for (const side of ["original", "treatment"]) this.place(side, result[side]);
    for (const [i, card] of this.cards.original.entries()) this.write(card, i, result, "original", {});
    for (const [i, card] of this.cards.treatment.entries()) this.write(card, i, result, "treatment", curves);
    if (before) this.travel(before);
    this.drawLinks();
  }

  tops() {
    const top = ({ item }) => item.getBoundingClientRect().top;
    return { original: this.cards.original.map(top), treatment: this.cards.treatment.map(top) };
  }

  place(side, view) {
    const { original, treatment } = this.result;
    const removed = view.rank.flatMap((rank, i) => (rank === null ? [i] : []));
    const order = [...view.order, ...removed.sort((a, b) => (original.rank[a] ?? 0) - (original.rank[b] ?? 0))];
    const items = order.map((i) => this.cards[side][i].item);
    const list = this.lists[side];
    if (treatment && items.every((item, i) => list.children[i] === item)) return;
    const active = list.contains(document.activeElement) ? document.activeElement : null;
    list.append(...items);
    active?.focus({ preventScroll: true });
  }

  /** All places are read before anything is set in motion: each reading after a change costs a layout. */
  travel(before) {
    const near = (top) => top > -innerHeight / 2 && top < 1.5 * innerHeight;
    const cards = ["original", "treatment"].flatMap((side) => this.cards[side].map(({ item }, i) => [item, before[side][i]]));
    for (const [item] of cards) for (const running of item.getAnimations()) if (running.id === "travel") running.cancel();
    const ways = cards.map(([item, was]) => [item, was, item.getBoundingClientRect().top]);
    const moved = ways.filter(([, was, is]) => Math.abs(was - is) >= 1 && (near(was) || near(is)));
    for (const [item, was, is] of moved) {
      item.classList.toggle("lifted", was > is);
      const motion = item.animate([{ transform: `translateY(${was - is}px)` }, { transform: "none" }], { ...TRAVEL, id: "travel" });
      motion.finished.then(() => item.classList.remove("lifted"), () => {});
    }
    if (moved.length) this.follow();
  }

  /** Redraw the links while posts travel. */
  follow() {
    const step = () => {
      this.following = performance.now() < this.until;
      this.drawLinks();
      if (this.following) requestAnimationFrame(step);
    };
    this.until = performance.now() + TRAVEL.duration + 60;
    if (!this.following) requestAnimationFrame(step);
  }

  drawLinks() {
    const area = this.links.getBoundingClientRect();
    if (!this.result || !area.width) return;
    const middle = (card) => {
      const box = card.item.getBoundingClientRect();
      return box.top + Math.min(box.height / 2, 40) - area.top;
    };
    const width = area.width;
    const ends = this.posts.map((_, i) => [middle(this.cards.original[i]), middle(this.cards.treatment[i])]);
    const outside = (y) => (y + area.top < -200 ? -1 : y + area.top > innerHeight + 200 ? 1 : 0);
    for (const [i, path] of [...this.links.children].entries()) {
      const [a, b] = ends[i];
      if (this.following && outside(a) !== 0 && outside(a) === outside(b)) continue;
      path.setAttribute("d", `M0,${a} C${width * 0.55},${a} ${width * 0.45},${b} ${width},${b}`);
      const moved = this.result.original.rank[i] !== this.result.treatment.rank[i];
      const lowered = this.result.treatment.multiplier[i] < 1;
      path.setAttribute("class", `${lowered ? "lowered" : moved ? "moved" : "same"}${this.lit === i ? " lit" : ""}`);
    }
  }

  light(row) {
    for (const [i, on] of [[this.lit, false], [row, true]]) {
      if (i === null || i === undefined) continue;
      for (const side of ["original", "treatment"]) this.cards[side][i]?.item.classList.toggle("lit", on);
      this.links.children[i]?.classList.toggle("lit", on);
    }
    this.lit = row;
  }

  /** A post on one side, made once; `write` fills in what policies decide. */
  card(post, row, side) {
    const parts = {
      rank: h("span", { class: "rank" }),
      move: h("span", { class: "move" }),
      lowered: h("span", { class: "lowered-by" }),
      worth: h("div", { class: "worth" }),
      bars: this.harms.map((label) => harmBar(label, post.harms[label] ?? null)),
      why: h("button", { type: "button", class: "why-button", onclick: () => this.explain(post, row, side) }, "Why here?"),
    };
    const who = [post.publisher ?? post.author, post.relation && words(post.relation), post.media && words(post.media)];
    const item = h(
      "li",
      { class: "post", "data-row": row, "data-post": post.id, onmouseenter: () => this.light(row), onmouseleave: () => this.light(null), onfocusin: () => this.light(row), onfocusout: () => this.light(null) },
      h("div", { class: "place" }, parts.rank, parts.move),
      h(
        "div",
        { class: "body" },
        h("p", { class: "who" }, who.filter(Boolean).join(" · "), parts.lowered),
        this.text(post),
        h("p", { class: "counts" }, counts(post)),
        h("div", { class: "harms" }, ...(parts.bars.length ? parts.bars.map((bar) => bar.element) : [h("p", { class: "unscored" }, "harm not scored: no classifier")])),
        h("div", { class: "foot" }, parts.worth, parts.why),
      ),
    );
    return { item, ...parts };
  }

  /** The text; one that is scored as graphic shows on demand, on both sides. */
  text(post) {
    if (post.text === null) return h("p", { class: "text none" }, post.hosts.length ? `Link to ${post.hosts.join(", ")}` : "No text");
    const shown = () => h("p", { class: "text", lang: post.language, dir: "auto" }, post.text);
    const graphic = post.harms.graphic_violence ?? null;
    if (graphic === null || graphic < this.info.graphic_from || this.revealed.has(post.id)) return shown();
    const reveal = h("button", { type: "button", class: "reveal", onclick: () => {
      this.revealed.add(post.id);
      for (const cover of document.querySelectorAll(".covered")) if (cover.dataset.post === post.id) cover.replaceWith(shown());
    } }, "Show text");
    return h("div", { class: "covered", "data-post": post.id }, h("span", {}, "Text hidden: probably graphic "), reveal);
  }

  write(card, i, result, side, curves) {
    const view = result[side];
    const rank = view.rank[i];
    card.rank.textContent = rank === null ? "–" : rank;
    card.item.classList.toggle("removed", rank === null);
    if (side === "treatment") this.move(card, result.original.rank[i], rank);
    const kept = view.multiplier[i];
    const causes = Object.entries(view.demotions[i]).sort((a, b) => a[1] - b[1]).map(([name]) => words(name));
    card.item.classList.toggle("demoted", kept < 1);
    card.lowered.textContent = rank === null ? "removed" : kept < 1 ? `kept ${plain(100 * kept, kept < 0.1 && kept > 0 ? 1 : 0)} %: ${causes.slice(0, 2).join(", ")}${causes.length > 2 ? "…" : ""}` : "";
    const post = this.posts[i];
    card.why.setAttribute("aria-label", `Why here? ${rank === null ? "Removed" : `Number ${rank}`}, post ${post.id}, ${side}`);
    this.harms.forEach((label, k) => card.bars[k].mark(curves[label] ?? null));
    writeWorth(card.worth, view.good[i], view.bad[i]);
  }

  move(card, before, after) {
    const up = before === null || after === null ? 0 : before - after;
    card.move.className = `move ${up > 0 ? "up" : up < 0 ? "down" : "same"}`;
    const number = plain(Math.abs(up));
    card.move.replaceChildren(h("span", { "aria-hidden": "true" }, up > 0 ? `▲ ${number}` : up < 0 ? `▼ ${number}` : after === null ? "" : "="));
    const said = after === null ? "removed" : up > 0 ? `up ${number}` : up < 0 ? `down ${number}` : "unchanged";
    card.move.append(h("span", { class: "visually-hidden" }, said));
  }
}

/** One harm's bar, with marks where demotion starts and where its line is; null is said, never drawn as zero. */
function harmBar(label, p) {
  const fill = h("i", { class: "fill" });
  const marks = { start: h("i", { class: "start" }), line: h("i", { class: "line" }) };
  const name = h("span", { class: "name", title: capital(words(label)) }, HARM_NAMES[label] ?? capital(words(label)));
  const track = h("div", { class: "track", "aria-hidden": "true" }, fill, marks.start, marks.line);
  const value = h("span", { class: "value" }, chance(p));
  const element = h("div", { class: `harm${p === null ? " unscored" : ""}` }, name, value, track);
  if (p !== null) fill.style.width = `${100 * p}%`;
  const mark = (curve) => {
    for (const [end, tick] of Object.entries(marks)) {
      tick.hidden = curve === null || p === null;
      if (curve) tick.style.left = `${100 * curve[end]}%`;
    }
    const [start, line] = curve ? [curve.start, curve.line] : [0.25, 0.5];
    element.dataset.level = p === null ? "none" : p >= line ? "high" : p > start ? "some" : "low";
  };
  mark(null);
  return { element, mark };
}

/** Good and bad engagement in likes, and their shares of one bar. */
function writeWorth(place, good, bad) {
  const total = good + bad;
  const share = total > 0 ? good / total : 0;
  const text = total > 0 ? `${short(good)} good · ${short(bad)} bad` : "no engagement that counts";
  if (!place.firstChild) {
    place.append(
      h("span", { class: "worth-text" }),
      h("div", { class: "worth-bar", "aria-hidden": "true" }, h("i", { class: "good" }), h("i", { class: "bad" })),
    );
  }
  place.firstChild.textContent = text;
  const title = total > 0 ? `Engagement worth ${short(total)} likes, ${percent(share, 0).replace("+", "")} of a kind that people endorse` : "";
  place.title = title;
  place.classList.toggle("nothing", total <= 0);
  place.lastChild.firstChild.style.width = `${100 * share}%`;
}

function counts(post) {
  const sum = (...names) => {
    const known = names.map((name) => post.counts[name] ?? null).filter((value) => value !== null);
    return known.length ? known.reduce((a, b) => a + b, 0) : null;
  };
  const groups = {
    comment: ["comment", "significant_comment", "reply", "significant_reply"],
    reshare: ["reshare", "reshare_with_text", "significant_reshare"],
  };
  const said = COUNTS.map(([name, word]) => {
    const value = sum(...(groups[name] ?? [name]));
    if (!value) return null;
    const plural = ["like", "comment", "reshare"].includes(word) && value !== 1 ? "s" : "";
    return `${short(value)} ${word}${plural}`;
  });
  return said.filter(Boolean).join(" · ") || "no reactions yet";
}
