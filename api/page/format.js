// Numbers, times and elements, as the page writes them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
export const count = (n) => whole.format(n);

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

export const price = (p, d) => p.toLocaleString("en", { minimumFractionDigits: d, maximumFractionDigits: d });
export const signed = (x, d) => (Math.abs(x).toFixed(d) === (0).toFixed(d) ? "" : x > 0 ? "+" : "−") + Math.abs(x).toFixed(d);
export const percent = (p, d = 1) => (100 * p).toFixed(d) + " %";
export const mebibytes = (b) => (b / 1048576).toFixed(1) + " MiB";

const two = (n) => String(n).padStart(2, "0");
const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

// utc writes a moment without its year when that is the present one.
export function utc(t) {
  const d = new Date(t);
  const year = d.getUTCFullYear() === new Date().getUTCFullYear() ? "" : ` ${d.getUTCFullYear()}`;
  return `${two(d.getUTCDate())} ${months[d.getUTCMonth()]}${year} ${two(d.getUTCHours())}:${two(d.getUTCMinutes())}`;
}

// span writes a length of time, in milliseconds, in its greatest two units.
export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
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
