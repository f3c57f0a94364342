// Bells ring in this browser when price comes near a level or touches it.

import { ask } from "./ask.js";
import { decimals, el, fixed, price, put, utc } from "./format.js";
import { query } from "./paths.js";
import { read, refresh } from "./watched.js";
import { say } from "./words.js";

const kept = "tidemark-bells", seenKey = "tidemark-seq", rungKey = "tidemark-rung", muteKey = "tidemark-mute";
const most = 50;

// Events older than this were not heard; the list says what happened, without a sound.
const fresh = 10 * 60_000;

// rings are the kinds that ring.
const rings = ["approaching", "touched"];
export const heard = [...rings, "vanished"];

const key = (b) => [b.exchange, b.symbol, b.interval, b.level ?? ""].join(" ");
const figure = (p) => price(p, decimals([p]));
const named = (level) => `${say("role." + level.role)} ${figure(level.price)}`;
const of = (b) => b.level ? named(b) : say("bells.any");

export class Bells {
  list = read(kept);
  said = "";
  #bell = ""; // of the title

  // open is called with what a bell that rang is of, changed when others are set,
  // retitle when the title of the page is another.
  constructor(box, { open, changed, retitle }) {
    Object.assign(this, { box, open, changed, retitle });
    addEventListener("storage", (e) => {
      if (e.key !== kept) return;
      this.list = read(kept);
      this.draw();
      this.changed();
    });
    // a browser plays nothing before somebody has used the page
    const wake = () => this.list.length && this.sound();
    for (const e of ["pointerdown", "keydown"]) document.addEventListener(e, wake, { capture: true, passive: true });
    const quiet = () => document.hidden || this.title("");
    document.addEventListener("visibilitychange", quiet);
    for (const e of ["focus", "pointerdown", "keydown"]) addEventListener(e, quiet, { capture: true, passive: true });
    this.draw();
  }

  // button returns the bell of a level, or of all drawn levels of a pair.
  button(pair, level, attributes) {
    const bell = { exchange: pair.exchange, symbol: pair.symbol, interval: pair.interval, level: level?.id ?? null, role: level?.role, price: level?.price };
    const label = say("bells.ring", { level: of(bell), pair: pair.symbol });
    return el("button", { type: "button", class: "bell", "data-bell": key(bell), "aria-pressed": String(this.has(key(bell))), "aria-label": label, title: label, ...attributes,
      onclick: (e) => { e.stopPropagation(); this.toggle(bell); } });
  }

  has(k) {
    return this.list.some((b) => key(b) === k);
  }

  // after is the number after which events have not been seen, null without a bell.
  get after() {
    const n = Number(localStorage.getItem(seenKey) ?? NaN);
    return this.list.length && n >= 0 ? n : null;
  }

  set after(seq) {
    if (seq === null) localStorage.removeItem(seenKey);
    else localStorage.setItem(seenKey, seq);
  }

  toggle(bell) {
    if (this.has(key(bell))) return this.keep(this.list.filter((b) => key(b) !== key(bell)));
    if (this.list.length >= most) {
      this.said = say("bells.most", { most });
      return this.draw();
    }
    this.keep([...this.list, bell]);
    this.sound();
    this.permit();
  }

  keep(list) {
    this.list = list;
    if (!list.length) this.after = null;
    localStorage.setItem(kept, JSON.stringify(list));
    this.draw();
    this.changed();
  }

  // permit asks for the permission to notify, and says if there is none.
  async permit() {
    const answer = !globalThis.isSecureContext || !globalThis.Notification ? "unavailable"
      : Notification.permission === "default" ? await Notification.requestPermission() : Notification.permission;
    this.said = answer === "denied" ? say("bells.denied")
      : answer === "unavailable" ? say("bells.insecure")
      : answer === "default" ? say("bells.not_permitted") : "";
    this.draw();
  }

  // sound returns what plays, once the browser lets it.
  sound() {
    if (!globalThis.AudioContext || navigator.userActivation?.hasBeenActive === false || localStorage.getItem(muteKey) === "on") return null;
    this.audio ??= new AudioContext();
    if (this.audio.state === "suspended") this.audio.resume().catch(() => {});
    return this.audio;
  }

  beep() {
    const audio = this.sound();
    if (audio?.state !== "running") return;
    for (const [at, hertz] of [[0, 880], [0.16, 1175]]) {
      const tone = audio.createOscillator(), gain = audio.createGain(), t = audio.currentTime + at;
      tone.frequency.value = hertz;
      gain.gain.setValueAtTime(0.0001, t);
      gain.gain.exponentialRampToValueAtTime(0.2, t + 0.02);
      gain.gain.exponentialRampToValueAtTime(0.0001, t + 0.3);
      tone.connect(gain).connect(audio.destination);
      tone.start(t);
      tone.stop(t + 0.32);
    }
  }

  // take rings for an event, once in all tabs of this browser, and moves bells whose
  // level has been replaced.
  take(e) {
    const mine = this.list.filter((b) => b.exchange === e.exchange && b.symbol === e.symbol && b.interval === e.interval);
    if (e.kind === "vanished") {
      const bell = mine.find((b) => b.level === e.level.id);
      if (bell) this.move(bell, e);
      return;
    }
    const bells = rings.includes(e.kind) ? mine.filter((b) => !b.level || b.level === e.level.id) : [];
    const rung = read(rungKey);
    if (!bells.length || rung.includes(e.id)) return;
    localStorage.setItem(rungKey, JSON.stringify([...rung, e.id].slice(-200)));
    const now = this.list.map((b) => bells.includes(b) ? { ...b, last: say("rang." + e.kind, { level: b.level ? say("bells.it") : named(e.level), at: utc(e.occurred_at) }) } : b);
    this.keep(now);
    if (Date.now() - Date.parse(e.emitted_at) > fresh) return;
    const text = say("happened." + e.kind, { pair: `${e.symbol} ${e.interval}`, level: named(e.level) });
    this.title(text);
    this.beep();
    if (!globalThis.Notification || Notification.permission !== "granted") return;
    try {
      const body = (e.simulated ? say("simulated.first") : "") + say("bells.note", { price: figure(e.price), edge: fixed(e.level.edge, 1), at: utc(e.occurred_at) });
      const note = new Notification(text, { body, tag: e.id });
      note.onclick = () => {
        focus();
        note.close();
        this.open(e);
      };
    } catch { // on Android a page may not notify by itself
      this.said = say("bells.no_notes");
      this.draw();
    }
  }

  // move has a bell be of the level that replaced its own, or says that there is none.
  async move(bell, e) {
    const at = utc(e.occurred_at);
    const next = e.replaced_by && { ...bell, level: e.replaced_by, note: say("bells.moved", { price: figure(bell.price), at }) };
    this.keep(this.list.map((b) => key(b) !== key(bell) ? b : next || { ...b, note: say("bells.vanished", { at }) }));
    if (!next) return;
    const page = await ask(`levels/${encodeURIComponent(bell.symbol)}${query({ exchange: bell.exchange, interval: bell.interval, faint: true })}`).catch(() => null);
    const level = page && [...page.supports.map((l) => ({ ...l, role: "support" })), ...page.resistances.map((l) => ({ ...l, role: "resistance" }))].find((l) => l.id === next.level);
    if (level) this.keep(this.list.map((b) => key(b) === key(next) ? { ...b, price: level.price, role: level.role } : b));
  }

  // title is what rang, until somebody looks.
  title(text) {
    if (this.#bell === text) return;
    this.#bell = text;
    this.retitle();
  }

  get ringing() {
    return this.#bell && `🔔 ${this.#bell} · `;
  }

  draw() {
    refresh("bell", (k) => this.has(k));
    const muted = localStorage.getItem(muteKey) === "on";
    put(this.box, el("summary", {}, this.list.length ? muted ? say("bells.muted", { count: this.list.length }) : say("bells.count", { count: this.list.length }) : say("bells.none")),
      el("p", { class: "soft" }, this.list.length ? say("bells.open") : say("bells.hint")),
      this.said ? el("p", { class: "problem", role: "status" }, this.said) : null,
      el("label", { class: "check" }, el("input", { type: "checkbox", checked: !muted, onchange: (e) => {
        localStorage.setItem(muteKey, e.target.checked ? "off" : "on");
        if (e.target.checked) this.beep();
        this.draw();
      } }), say("bells.sound")),
      el("ul", { class: "names" }, this.list.map((b) => el("li", {},
        el("button", { type: "button", class: "pair", onclick: () => this.open({ ...b, level: b.level && { id: b.level } }) }, `${b.symbol} ${b.interval}`),
        ` ${of(b)}`, el("span", { class: b.note ? "stale" : "soft" }, b.note ? " " + b.note : ""), el("span", { class: "soft" }, b.last ? ` ${b.last}` : ""),
        el("button", { type: "button", class: "drop", "aria-label": say("bells.remove", { pair: `${b.symbol} ${b.interval}`, level: of(b) }), onclick: () => this.keep(this.list.filter((other) => key(other) !== key(b))) }, "×")))));
  }
}
