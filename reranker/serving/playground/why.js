// The explanation of one post: two sentences and the terms that add up to its score, on both sides.

import { byId, capital, chance, h, plain, short, words } from "./words.js";

const LATE = ["demotion", "diversity"]; // what happens to the sum of the others, in this order

export class Why {
  constructor() {
    this.dialog = byId("why");
    this.body = byId("why-body");
    byId("why-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
  }

  /** Open with what is known at once; `found` brings the explanations. */
  async open(post, side, info, found) {
    byId("why-title").textContent = `Why post ${post.id} stands there`;
    const place = h("div", { class: "why-sides" }, h("p", { class: "muted" }, "Explaining…"));
    this.body.replaceChildren(this.quote(post, info), place, this.harms(post, info));
    this.dialog.showModal();
    this.body.focus();
    this.body.scrollTop = 0;
    try {
      const both = await found;
      place.replaceChildren(this.side("original", both.original), this.side("treatment", both.treatment));
      place.dataset.first = side;
    } catch (error) {
      place.replaceChildren(h("p", { class: "problem" }, error.message));
    }
  }

  quote(post, info) {
    const graphic = post.harms.graphic_violence ?? null;
    const about = [post.author && `by ${post.author}`, post.publisher, post.topic && words(post.topic), post.created_at?.replace("T", " "), ...post.hosts];
    const meta = h("p", { class: "muted" }, about.filter(Boolean).join(" · "));
    const text = h("blockquote", { lang: post.language, dir: "auto" }, post.text ?? "No text");
    if (post.text === null || graphic === null || graphic < info.graphic_from) return h("div", {}, text, meta);
    const cover = h("div", { class: "covered" }, h("span", {}, "Text hidden: probably graphic "));
    cover.append(h("button", { type: "button", class: "reveal", onclick: () => cover.replaceWith(text) }, "Show text"));
    return h("div", {}, cover, meta);
  }

  harms(post, info) {
    const known = post.known.map((name) => words(name.replace("is_", "")));
    const truth = info.known.length ? h("p", { class: "muted" }, known.length ? `The sample’s own truth: ${known.join(", ")}.` : "The sample’s own truth: nothing harmful.") : null;
    const labels = [...info.labels].sort((a, b) => (post.harms[b] ?? -1) - (post.harms[a] ?? -1));
    const bars = labels.map((label) => {
      const p = post.harms[label] ?? null;
      const fill = h("i", { class: "fill" });
      if (p !== null) fill.style.width = `${100 * p}%`;
      return h("div", { class: `harm${p === null ? " unscored" : ""}` }, h("span", { class: "name" }, capital(words(label))), h("span", { class: "value" }, chance(p)), h("div", { class: "track", "aria-hidden": "true" }, fill));
    });
    const heading = h("h3", {}, "What the classifier estimates");
    if (!bars.length) return h("section", {}, heading, h("p", { class: "muted" }, "No classifier has read this post."));
    return h("section", {}, heading, truth, h("div", { class: "all-harms" }, ...bars), h("p", { class: "muted" }, `Calibrated probabilities by ${info.model}.`));
  }

  side(name, found) {
    const where = found.rank === null ? "removed" : `number ${found.rank} of ${found.n_shown}`;
    return h(
      "section",
      { class: `why-side ${name}` },
      h("h3", {}, h("span", { class: `dot ${name}` }), ` ${capital(name)} `, h("span", { class: "muted" }, `${found.policy}, ${where}`)),
      ...found.sentences.map((sentence) => h("p", { class: "sentence" }, sentence)),
      this.terms(found, name),
    );
  }

  terms(found, name) {
    const stage = (term) => (term.kind === "reference" ? 0 : LATE.includes(term.kind) ? 2 : 1);
    const size = (term) => (stage(term) === 1 ? Math.abs(term.amount) : 0);
    const shown = found.terms.filter((term) => term.amount !== 0 || stage(term) === 2);
    const rows = shown.sort((a, b) => stage(a) - stage(b) || size(b) - size(a));
    const cell = (value) => h("td", {}, value === null || value === undefined ? "" : short(value));
    const total = h("tr", { class: "total" }, h("th", { scope: "row" }, "Score"), h("td", { colspan: 3 }), h("td", {}, signed(found.score)));
    const head = ["Term", "Units", "Good", "Bad", "Adds"].map((text) => h("th", { scope: "col" }, text));
    return h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": `Terms of the score, ${name}` },
      h(
        "table",
        { class: "terms" },
        h("caption", {}, "Terms of the score; good and bad engagement in likes"),
        h("thead", {}, h("tr", {}, ...head)),
        h("tbody", {}, ...rows.map((term) => h("tr", { class: term.kind }, h("th", { scope: "row" }, capital(words(term.name)), term.kind === "engagement" ? "" : h("span", { class: "kind" }, ` ${term.kind}`)), cell(term.count), cell(term.good), cell(term.bad), h("td", {}, signed(term.amount))))),
        h("tfoot", {}, total),
      ),
    );
  }
}

/** A term's amount with its sign and enough digits to add up by eye. */
function signed(value) {
  const digits = Math.abs(value) >= 1000 ? 0 : Math.abs(value) >= 10 ? 1 : 4;
  return `${value > 0 ? "+" : ""}${plain(value, digits)}`;
}
