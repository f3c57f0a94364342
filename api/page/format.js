// Numbers, times and elements, as the page writes them.

import { language, say } from "./words.js";

const formats = new Map();

// fixed writes a number with so many decimals.
export function fixed(x, d) {
  if (!formats.has(d)) formats.set(d, new Intl.NumberFormat(language, { minimumFractionDigits: d, maximumFractionDigits: d }));
  return formats.get(d).format(x);
}

export const count = (n) => fixed(n, 0);

// decimals returns how many decimals the finest of these prices is written with.
export function decimals(prices) {
  let most = 0;
  for (const p of prices) {
    const [digits, exponent] = String(p).split("e");
    const written = (digits.split(".")[1] ?? "").length - Number(exponent ?? 0);
    most = Math.max(most, written);
  }
  return Math.min(most, 12);
}

export const price = fixed;
export const signed = (x, d) => (fixed(Math.abs(x), d) === fixed(0, d) ? "" : x > 0 ? "+" : "−") + fixed(Math.abs(x), d);
export const percent = (p, d = 1) => fixed(100 * p, d) + " %";
export const mebibytes = (b) => b < 2 ** 30 ? fixed(b / 2 ** 20, 1) + " MiB" : fixed(b / 2 ** 30, 1) + " GiB";

// list writes words one after another.
export const list = (words) => words.join(say("comma"));

const moments = (parts) => new Intl.DateTimeFormat(language, { timeZone: "UTC", ...parts });
const day = moments({ day: "2-digit", month: "short" }), dayOfYear = moments({ day: "2-digit", month: "short", year: "numeric" });
export const hour = moments({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

// utc writes a moment without its year when that is the present one.
export function utc(t) {
  const d = new Date(t);
  const date = d.getUTCFullYear() === new Date().getUTCFullYear() ? day : dayOfYear;
  return `${date.format(d)} ${hour.format(d)}`;
}

// span writes a length of time, in milliseconds, in its greatest two units.
export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return say("span.seconds", { s });
  if (s < 3600) return say("span.minutes", { m: Math.floor(s / 60) });
  if (s < 86400) return say("span.hours", { h: Math.floor(s / 3600), m: Math.floor(s / 60) % 60 });
  return say("span.days", { d: Math.floor(s / 86400), h: Math.floor(s / 3600) % 24 });
}

// plain is the name of a pair in capitals, without what separates its assets.
export const plain = (name) => name.toUpperCase().replace(/[^\p{L}\p{N}]/gu, "");

const units = { m: 6e4, h: 36e5, d: 864e5, w: 6048e5 };

// length returns an interval in milliseconds.
export const length = (interval) => parseInt(interval) * units[interval.at(-1)];

// el makes an element. What is in it is text or elements, never markup.
export function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else if (value === true) e.setAttribute(name, "");
    else if (value !== false && value != null) e.setAttribute(name, value);
  }
  e.append(...children.flat().filter((c) => c != null));
  return e;
}

// svg makes an element of a picture.
export function svg(tag, attributes, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

// put has box contain these elements, but for those that are null. What is the same already
// stays, and the focus in it; else the focus moves to what has the same label.
export function put(box, ...elements) {
  const at = box.contains(document.activeElement) ? document.activeElement : null;
  const label = (e) => e.getAttribute("aria-label") ?? e.textContent;
  elements = elements.filter((e) => e != null);
  elements.forEach((e, i) => {
    const old = box.childNodes[i];
    if (!old) box.append(e);
    else if (!e.isEqualNode(old)) old.replaceWith(e);
  });
  while (box.childNodes.length > elements.length) box.lastChild.remove();
  if (at && !at.isConnected) [...box.querySelectorAll(at.tagName)].find((e) => label(e) === label(at))?.focus();
}
