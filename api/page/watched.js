// The pairs that are watched: kept in the browser, and as lists on the service.

import { ask, problemLine } from "./ask.js";
import { el, put } from "./format.js";
import { say } from "./words.js";

const kept = "tidemark-watched", most = 300;

// nameOf is how a pair is kept: by its canonical name, which all exchanges share.
const nameOf = ({ symbol, name }) => name || symbol;

// refresh has the buttons of a kind say whether what they are of is kept.
export function refresh(kind, has) {
  for (const b of document.querySelectorAll(`button[data-${kind}]`)) b.setAttribute("aria-pressed", String(has(b.dataset[kind])));
}

// read returns a list that the browser keeps.
export function read(name) {
  try {
    const list = JSON.parse(localStorage.getItem(name) ?? "[]");
    return Array.isArray(list) ? list : [];
  } catch {
    return [];
  }
}

export class Watched {
  names = read(kept);
  #sure = ""; // the list that the next click deletes

  // changed is called when other pairs are watched, listed when the service has other lists.
  constructor(box, changed, listed) {
    Object.assign(this, { box, changed, listed });
    addEventListener("storage", (e) => {
      if (e.key !== kept) return;
      this.names = read(kept);
      this.draw();
      this.changed();
    });
    box.addEventListener("toggle", () => this.box.open && this.lists());
    this.draw();
  }

  has(of) {
    return this.names.includes(nameOf(of));
  }

  // button returns the star of a pair.
  button(of, attributes) {
    const name = nameOf(of);
    return el("button", { type: "button", class: "star", "data-star": name, "aria-pressed": String(this.has(of)), "aria-label": say("watched.add", { pair: name }), title: say("watched.add", { pair: name }), ...attributes,
      onclick: (e) => { e.stopPropagation(); this.set(this.names.includes(name) ? this.names.filter((n) => n !== name) : [...this.names, name]); } });
  }

  set(names) {
    this.names = [...new Set(names)].slice(0, most);
    localStorage.setItem(kept, JSON.stringify(this.names));
    this.draw();
    this.changed();
  }

  draw(problem) {
    const { names, stored } = this;
    refresh("star", (name) => names.includes(name));
    put(this.box, el("summary", {}, names.length ? say("watched.count", { count: names.length }) : say("watched.none")),
      el("p", { class: "soft" }, names.length ? say("watched.kept") : say("watched.hint")),
      names.length ? el("ul", { class: "names" }, names.map((name) => el("li", {}, name, el("button", {
        type: "button", class: "drop", "aria-label": say("watched.remove", { pair: name }), onclick: () => this.set(this.names.filter((n) => n !== name)),
      }, "×")))) : null,
      el("form", { class: "inline", onsubmit: (e) => { e.preventDefault(); this.save(e.target.elements.list.value.trim()); } },
        el("label", {}, say("watched.list"), " ", el("input", { name: "list", value: "watched", maxlength: 64, required: true, autocomplete: "off" })),
        el("button", { disabled: !names.length }, say("watched.save"))),
      stored?.length ? el("ul", { class: "names" }, stored.map((l) => el("li", {}, `${l.name} (${l.pairs.length})`,
        el("button", { type: "button", "aria-label": say("watched.load_list", { list: l.name }), onclick: () => this.load(l.id) }, say("watched.load")),
        this.#sure === l.id ? el("button", { type: "button", class: "sure", "aria-label": say("alerts.sure", { of: l.name }), onclick: () => this.remove(l.id) }, say("really"))
          : el("button", { type: "button", "aria-label": say("alerts.act", { act: say("delete"), of: l.name }), onclick: () => this.ask(l.id) }, say("delete"))))) : null,
      problem ?? el("p", { class: "soft" }, stored?.length ? say("watched.named", { list: stored[0].name }) : ""));
  }

  // listNames returns the names of the lists of the service.
  get listNames() {
    return (this.stored ?? []).map((l) => l.name);
  }

  // lists asks for the lists of the service.
  async lists(problem) {
    try {
      const before = this.listNames.join();
      this.stored = (await ask("watchlists")).watchlists;
      if (this.listNames.join() !== before) this.listed();
    } catch (p) {
      problem ??= problemLine(p);
    }
    this.draw(problem);
  }

  async save(name) {
    let said = el("p", { role: "status" }, say("watched.saved", { list: name }));
    try {
      const { watchlists } = await ask("watchlists");
      const before = watchlists.find((l) => l.name === name);
      await ask("watchlists" + (before ? "/" + before.id : ""), { method: before ? "PUT" : "POST", body: { name, pairs: this.names } });
    } catch (p) {
      said = problemLine(p);
    }
    await this.lists(said);
  }

  // ask has the button of a list ask whether to delete it.
  ask(id) {
    this.#sure = id;
    this.draw();
    this.box.querySelector(".sure").focus();
  }

  async remove(id) {
    this.#sure = "";
    await this.lists(await ask("watchlists/" + id, { method: "DELETE" }).then(() => undefined, problemLine));
  }

  load(id) {
    const { name, pairs } = this.stored.find((l) => l.id === id);
    const single = pairs.filter((p) => !p.includes("*"));
    this.names = [];
    this.set(single);
    this.draw(el("p", { role: "status" }, single.length < pairs.length ? say("watched.loaded_without", { count: single.length, list: name, patterns: pairs.length - single.length }) : say("watched.loaded", { count: single.length, list: name })));
  }
}
