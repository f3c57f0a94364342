// The tools of the chart: what it shows, which the browser keeps, and what can be taken from it.

import { el } from "./format.js";
import { say } from "./words.js";

const kept = "tidemark-chart";

// The switches, and whether they are on at first.
const switches = { volume: true, log: false, dots: true, beside: false, before: false, local: false };

function read() {
  try {
    return JSON.parse(localStorage.getItem(kept)) ?? {};
  } catch {
    return {};
  }
}

export class Tools {
  // changed is called with the name of a switch; taken returns { canvas, file } of the
  // picture; home shows the newest candles; help the keys.
  constructor(box, { changed, taken, home, help }) {
    Object.assign(this, { box, changed, taken, on: { ...switches, ...read() } });
    this.card = box.closest(".view");
    this.said = this.card.querySelector(".said");
    const acts = { copy: () => this.copy(), save: () => this.save(), share: () => this.share(), full: () => this.full(), home, keys: help };
    box.addEventListener("click", (e) => {
      const { act, flip } = e.target.closest("button")?.dataset ?? {};
      acts[act]?.();
      if (flip) this.set(flip, !this.on[flip]);
    });
    document.addEventListener("fullscreenchange", () => document.fullscreenElement || this.fill(false));
    this.draw();
  }

  draw() {
    for (const b of this.box.querySelectorAll("[data-flip]")) b.setAttribute("aria-pressed", String(this.on[b.dataset.flip]));
  }

  set(name, on) {
    this.on[name] = on;
    localStorage.setItem(kept, JSON.stringify(this.on));
    this.draw();
    this.changed(name);
  }

  // tell says for a while what became of an act.
  tell(text) {
    this.said.textContent = text;
    clearTimeout(this.soon);
    this.soon = setTimeout(() => (this.said.textContent = ""), 6000);
  }

  // copy puts the picture on the clipboard. Browsers have one only for pages at https or localhost.
  async copy() {
    const png = new Promise((resolve) => this.taken().canvas.toBlob(resolve, "image/png"));
    try {
      await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]);
      this.tell(say("tools.copied"));
    } catch {
      this.tell(say("tools.no_clipboard"));
    }
  }

  save() {
    const { canvas, file } = this.taken();
    canvas.toBlob((png) => {
      const address = URL.createObjectURL(png);
      el("a", { href: address, download: file }).click();
      setTimeout(() => URL.revokeObjectURL(address), 1000);
    }, "image/png");
  }

  async share() {
    try {
      await navigator.clipboard.writeText(location.href);
      this.tell(say("tools.linked"));
    } catch {
      this.tell(location.href);
    }
  }

  // full has the chart fill the screen, or the window where a browser refuses.
  full() {
    const on = !this.card.classList.contains("full");
    this.fill(on);
    if (on) this.card.requestFullscreen?.().catch(() => {});
    else if (document.fullscreenElement) document.exitFullscreen();
  }

  fill(on) {
    this.card.classList.toggle("full", on);
    this.box.querySelector("[data-act=full]").setAttribute("aria-pressed", String(on));
  }
}
