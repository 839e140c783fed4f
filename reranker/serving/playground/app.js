// The playground: what is chosen lives here; feeds, scores and rankings live on the server.

import { Sliders } from "./controls.js";
import { Feeds } from "./feeds.js";
import { Figures } from "./figures.js";
import * as server from "./server.js";
import { SweepChart } from "./sweep.js";
import { Why } from "./why.js";
import { byId, h, many, plain, words } from "./words.js";

const SAMPLE = "sample";
const FIRST_ORIGINAL = "fb-2018-h1";
const POLL_MS = 250;
const SWEEP_AFTER_MS = 600;

const state = { feed: SAMPLE, info: null, request: 0, original: null, treatment: null, overlay: "", loads: 0 };
const sliders = new Sliders(byId("sliders"), changed);
const figures = new Figures(byId("figures"), byId("figures-more"), byId("figures-note"), byId("figures-scope"));
const chart = new SweepChart(byId("sweep"), byId("sweep-metric"));
const why = new Why();
const feeds = new Feeds({ original: byId("list-original"), treatment: byId("list-treatment") }, byId("links"), explain);
const swept = { original: "", treatment: "" };
let sweepTimer = 0;

const arms = () => ({
  original: { policy: state.original, settings: {}, without: [] },
  treatment: { policy: spec(), ...sliders.arm() },
});
const spec = () => (state.overlay ? `${state.treatment}+${state.overlay}` : state.treatment);
const asked = () => ({ feed: state.feed, request: state.request, ...arms() });

// --- messages ---

function say(error) {
  if (error.status === 401) return askForKey();
  byId("message-text").textContent = error.message;
  byId("message").hidden = false;
  return undefined;
}

const quiet = () => (byId("message").hidden = true);

function askForKey() {
  const input = h("input", { id: "key", type: "password", autocomplete: "off", required: true });
  const form = h("form", { class: "key" }, h("label", { for: "key" }, "This server asks for a key"), input, h("button", { class: "button" }, "Use it"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    server.useKey(input.value);
    location.reload();
  });
  byId("message-text").replaceChildren(form);
  byId("message").hidden = false;
}

// --- feeds ---

/** Show a feed once its texts are read; the last one asked for wins. */
async function openFeed(id) {
  const turn = ++state.loads;
  byId("loading").hidden = false;
  byId("results").hidden = byId("feeds").hidden = true;
  let info = await server.feed(id);
  while (!info.ready) {
    if (turn !== state.loads) return;
    byId("loading-bar").max = info.total;
    byId("loading-bar").value = info.read;
    byId("loading-text").textContent = `${plain(info.read)} of ${many(info.total, "text")} of “${info.name}”`;
    await new Promise((done) => setTimeout(done, POLL_MS));
    info = await server.feed(id);
  }
  if (turn !== state.loads) return;
  Object.assign(state, { feed: id, info, request: info.start });
  for (const side of ["original", "treatment"]) chart.set(side, null);
  Object.assign(swept, { original: "", treatment: "" });
  quiet();
  showSource();
  fitPickers();
  await showPreset();
  if (info.problem) say(new Error(`No harm is scored here (${info.problem}): nothing is demoted for what a text says.`));
  await openRequest(info.start);
}

function showSource() {
  const { info } = state;
  byId("source-name").textContent = info.name;
  byId("source-size").textContent = `${many(info.requests.length, "feed")}, ${many(info.n_candidates, "post")}`;
  byId("back-to-sample").hidden = state.feed === SAMPLE;
  const option = (request, i) => {
    const who = [request.user && `Feed of ${request.user}`, request.country, many(request.n, "post")];
    return h("option", { value: i }, [request.user ? null : request.id, ...who].filter(Boolean).join(", "));
  };
  byId("request").replaceChildren(...info.requests.map(option));
}

/** Policies for predicted probabilities rank no counts, and the other way round. */
function fitPickers() {
  for (const select of [byId("pick-original"), byId("pick-treatment")]) {
    for (const option of select.options) {
      const { expects } = option.dataset;
      option.disabled = expects !== "either" && expects !== state.info.kind;
      option.textContent = option.dataset.label + (option.disabled ? ` (needs ${expects})` : "");
    }
  }
}

async function openRequest(request) {
  state.request = Math.min(Math.max(request, 0), state.info.requests.length - 1);
  byId("request").value = state.request;
  byId("previous").disabled = state.request === 0;
  byId("next").disabled = state.request === state.info.requests.length - 1;
  const turn = state.loads;
  const wanted = state.request;
  document.body.classList.add("busy");
  try {
    const posts = await server.posts(state.feed, wanted);
    if (turn !== state.loads || wanted !== state.request) return;
    feeds.load(posts, state.info);
    await refresh();
  } catch (error) {
    document.body.classList.remove("busy");
    throw error;
  }
}

// --- policies ---

async function showPreset() {
  const base = await server.policy({ policy: spec(), settings: {}, without: [] });
  sliders.show(base, state.info.signals, state.info.labels);
  byId("about-treatment").textContent = base.title;
  showChanges();
}

function showChanges() {
  const { count } = sliders;
  byId("changes").textContent = count ? `${many(count, "change")} to the preset` : "As the preset has it";
  byId("sheet-changes").textContent = count ? many(count, "change") : "";
  byId("reset").hidden = count === 0;
}

function changed() {
  showChanges();
  guard(refresh);
}

/** The latest choice, ranked; while one answer is awaited the choices in between are skipped. */
const refresh = server.latest(async () => {
  const body = asked();
  const turn = state.loads;
  document.body.classList.add("busy");
  try {
    const result = await server.compare(body);
    if (turn !== state.loads || body.request !== state.request) return;
    show(result);
    quietUnlessUnscored();
  } catch (error) {
    if (error.status === 404) openFeed(SAMPLE).then(() => say(error), say);
    else if (error.status === 503) setTimeout(() => guard(refresh), 1000);
    else say(error);
  } finally {
    document.body.classList.remove("busy");
  }
});

const quietUnlessUnscored = () => state.info.problem || quiet();

function show(result) {
  byId("loading").hidden = true;
  byId("results").hidden = byId("feeds").hidden = false;
  for (const side of ["original", "treatment"]) byId(`name-${side}`).textContent = result[side].policy.name;
  byId("about-original").textContent = result.original.policy.title;
  byId("digest").textContent = result.treatment.policy.digest.slice(0, 16);
  sliders.limit(result.treatment.policy.highest_floor);
  feeds.update(result, sliders.curves());
  figures.show(result.figures);
  chart.offer(result.figures.rows);
  const angry = (side) => result[side].policy.weights.angry ?? 0;
  chart.mark({ original: angry("original"), treatment: angry("treatment") });
  const moved = result.treatment.rank.filter((rank, i) => rank !== result.original.rank[i]).length;
  byId("status").textContent = `${many(moved, "post")} of ${plain(result.original.rank.length)} stand elsewhere than in the original.`;
  clearTimeout(sweepTimer);
  sweepTimer = setTimeout(() => guard(sweepBoth), SWEEP_AFTER_MS);
}

/** Both lines of the sweep, each only when something but its own weight of angry has changed. */
const sweepBoth = server.latest(async () => {
  const { original, treatment } = arms();
  const { feed } = state;
  for (const [side, arm] of Object.entries({ original, treatment })) {
    const settings = { ...arm.settings };
    delete settings["weights.angry"];
    const body = { feed, original, swept: { ...arm, settings } };
    const key = JSON.stringify(body);
    if (swept[side] === key) continue;
    try {
      const points = await server.sweep(body);
      if (feed !== state.feed) return;
      swept[side] = key;
      chart.set(side, points);
    } catch (error) {
      if (error.status !== 503 && error.status !== 404 && error.status !== 409) say(error);
    }
  }
});

function explain(post, row, side) {
  const body = { ...asked(), post: post.id };
  why.open(post, side, state.info, server.explain(body));
}

/** Run something asynchronous and show what goes wrong. */
function guard(work, ...given) {
  return work(...given).catch(say);
}

// --- what people do ---

async function pick(side, value) {
  const before = { treatment: state.treatment, overlay: state.overlay };
  try {
    if (side === "original") state.original = value;
    else {
      state[side] = value;
      await showPreset();
    }
    await refresh();
  } catch (error) {
    Object.assign(state, before);
    byId("pick-treatment").value = state.treatment;
    byId("pick-overlay").value = state.overlay;
    say(error);
  }
}

async function load(file) {
  const label = byId("load-label");
  label.classList.add("waiting");
  try {
    const id = await server.load(file, state.feed === SAMPLE ? "" : state.feed);
    await openFeed(id);
  } catch (error) {
    byId("loading").hidden = true;
    byId("results").hidden = byId("feeds").hidden = state.info === null;
    say(error);
  } finally {
    label.classList.remove("waiting");
    byId("load").value = "";
  }
}

async function save() {
  const text = await server.policyToml(arms().treatment);
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: "application/toml" })), download: `${spec()}${sliders.count ? "-changed" : ""}.toml` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function showSide(side) {
  byId("columns").dataset.side = side;
  for (const one of ["original", "treatment"]) byId(`show-${one}`).setAttribute("aria-pressed", String(one === side));
}

function listen() {
  byId("message-close").addEventListener("click", quiet);
  byId("pick-original").addEventListener("change", (event) => pick("original", event.target.value));
  byId("pick-treatment").addEventListener("change", (event) => pick("treatment", event.target.value));
  byId("pick-overlay").addEventListener("change", (event) => pick("overlay", event.target.value));
  byId("reset").addEventListener("click", () => guard(async () => {
    await showPreset();
    byId("pick-treatment").focus();
    await refresh();
  }));
  byId("export").addEventListener("click", () => guard(save));
  byId("load").addEventListener("change", (event) => event.target.files[0] && load(event.target.files[0]));
  byId("back-to-sample").addEventListener("click", () => guard(openFeed, SAMPLE));
  byId("request").addEventListener("change", (event) => guard(openRequest, Number(event.target.value)));
  byId("previous").addEventListener("click", () => guard(openRequest, state.request - 1));
  byId("next").addEventListener("click", () => guard(openRequest, state.request + 1));
  for (const side of ["original", "treatment"]) byId(`show-${side}`).addEventListener("click", () => showSide(side));
  byId("sheet").addEventListener("click", () => {
    const open = byId("sheet").getAttribute("aria-expanded") !== "true";
    byId("sheet").setAttribute("aria-expanded", String(open));
    document.body.classList.toggle("sheet-open", open);
  });
}

async function begin() {
  listen();
  const { policies, own } = await server.policies();
  const ranking = policies.filter((policy) => policy.kind === "policy");
  const [head, ...overlays] = own.split("+");
  state.original = FIRST_ORIGINAL;
  state.treatment = ranking.some((policy) => policy.name === own) ? own : ranking.some((policy) => policy.name === "server") ? "server" : head;
  state.overlay = state.treatment === head && overlays.length === 1 ? overlays[0] : "";
  for (const side of ["original", "treatment"]) {
    const option = (policy) => {
      const label = policy.name === "server" ? "this server’s own" : `${policy.name} (${policy.date.slice(0, 4)})`;
      return h("option", { value: policy.name, "data-expects": policy.expects, "data-label": label }, label);
    };
    byId(`pick-${side}`).replaceChildren(...ranking.map(option));
    byId(`pick-${side}`).value = state[side];
  }
  for (const policy of policies.filter((one) => one.kind === "overlay")) {
    byId("pick-overlay").append(h("option", { value: policy.name }, words(policy.name)));
  }
  byId("pick-overlay").value = state.overlay;
  await openFeed(SAMPLE);
}

begin().catch((error) => {
  byId("loading").hidden = true;
  say(error);
});
