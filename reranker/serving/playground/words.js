// Elements and numbers as the page writes them. Text goes in as text nodes only: posts are untrusted.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes, listeners (on...) and children; strings become text. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

export const byId = (id) => document.getElementById(id);

const grouped = (digits) => new Intl.NumberFormat("en", { maximumFractionDigits: digits });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const significant = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** A number of about three digits: 0.0123, 12.3, 1.23K. */
export function short(value) {
  if (value === null) return "–";
  return minus(Math.abs(value) >= 10_000 ? compact.format(value) : significant.format(value));
}

/** A number with so many decimals at most. */
export const plain = (value, digits = 0) => minus(grouped(digits).format(value));

/** A change as a signed percentage; very small ones keep a digit. */
export function percent(value, digits = 1) {
  if (value === null) return "–";
  const text = (100 * value).toFixed(Math.abs(value) >= 0.995 || value === 0 ? 0 : digits);
  if (Number(text) === 0) return "0 %";
  return minus(`${value > 0 ? "+" : ""}${text} %`);
}

/** A probability: two decimals, and what is below them said so. */
export function chance(value) {
  if (value === null) return "not scored";
  if (value > 0 && value < 0.005) return "< 0.01";
  return value.toFixed(2);
}

export const minus = (text) => text.replace("-", "−");

/** A name of the data as words. */
export const words = (name) => name.replaceAll("_", " ");

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** "1 post", "2 posts". */
export const many = (n, one, more = `${one}s`) => `${plain(n)} ${n === 1 ? one : more}`;
