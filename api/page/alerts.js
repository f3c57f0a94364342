// Alerts of the service: rules, receivers, silences, and the messages that were sent.

import { ask, problemLine, sentence } from "./ask.js";
import { kinds } from "./events.js";
import { decimals, el, fixed, list, percent, price, put, span, svg, utc } from "./format.js";
import { edit } from "./form.js";
import { say } from "./words.js";

const days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const newest = 20;

// any writes words, or what it means that there are none.
const any = (words, none) => words.length ? list(words) : none;
const kindsOf = (of) => of.map((kind) => say("kind." + kind));
const button = (text, label, onclick, attributes) => el("button", { type: "button", "aria-label": say("alerts.act", { act: text, of: label }), onclick, ...attributes }, text);
const fromFile = (v) => v.from_file ? el("span", { class: "state" }, say("alerts.from_file")) : null;
const ahead = (t) => span(Date.parse(t) - Date.now());

// What the configuration of a kind of receiver has.
const secret = { kind: "text", secret: true };
const textTemplate = { name: "template", label: say("config.text_template"), kind: "lines" };
const config = {
  webhook: [{ name: "url", label: say("config.url"), kind: "text" }, { name: "secret", label: say("config.secret"), ...secret }, { name: "key", label: say("config.signing_key"), ...secret },
    { name: "template", label: say("config.template"), kind: "lines" }, { name: "content_type", label: say("config.content_type"), kind: "text" },
    { name: "headers", label: say("config.headers"), kind: "lines" }],
  telegram: [{ name: "token", label: say("config.bot_token"), ...secret }, { name: "chat", label: say("config.chat"), kind: "text" }, { name: "server", label: say("config.telegram_server"), kind: "text" }, textTemplate],
  discord: [{ name: "url", label: say("config.webhook"), ...secret }, textTemplate],
  slack: [{ name: "url", label: say("config.webhook"), ...secret }, textTemplate],
  ntfy: [{ name: "topic", label: say("config.topic"), kind: "text" }, { name: "server", label: say("config.ntfy_server"), kind: "text" }, { name: "token", label: say("config.ntfy_token"), ...secret }, textTemplate],
  matrix: [{ name: "server", label: say("config.server"), kind: "text" }, { name: "room", label: say("config.room"), kind: "text" }, { name: "token", label: say("config.token"), ...secret }, textTemplate],
  email: [{ name: "server", label: say("config.smtp"), kind: "text" }, { name: "security", label: say("config.security"), kind: "select", options: ["starttls", "tls", "none"] }, { name: "user", label: say("config.user"), kind: "text" },
    { name: "password", label: say("config.password"), ...secret }, { name: "from", label: say("config.from"), kind: "text" }, { name: "to", label: say("config.to"), kind: "text" }, textTemplate],
};

// previewed writes what a rule would have sent.
function previewed(p) {
  const most = Math.max(1, ...p.by_day.map((d) => d.messages)), o = p.outcomes;
  const counts = list(Object.entries(p.by_kind).filter(([, n]) => n).map(([kind, n]) => say("preview.of_kind", { count: n, kind: say("kind." + kind) })));
  const busiest = p.busiest_hour ? say("preview.busiest", { count: p.busiest_hour.messages, at: utc(p.busiest_hour.from) }) : "";
  const rates = { held: percent(o.hold_rate, 0), promised: percent(o.promised, 0), line: percent(o.baseline, 0) };
  const rate = o.hold_rate === null ? "" : o.promised === null ? say("preview.rate", rates) : say("preview.rate_promised", rates);
  return [
    el("h3", {}, say("preview.title", { days: p.days, count: p.messages })),
    el("p", {}, p.simulated ? el("b", { class: "stale" }, say("simulated.first")) : "", say("preview.events", { count: p.events, series: p.series }), counts ? say("preview.kinds", { kinds: counts }) : "", busiest),
    svg("svg", { class: "days", viewBox: `0 0 ${Math.max(1, p.by_day.length) * 8} 40`, preserveAspectRatio: "none", role: "img", "aria-label": say("preview.days", { most }) },
      ...p.by_day.map((d, i) => svg("rect", { x: i * 8 + 1, width: 6, y: 40 - 38 * d.messages / most, height: 38 * d.messages / most }))),
    el("p", {}, say("preview.outcomes", { touched: o.touched, held: o.held, flipped: o.flipped, broke: o.broke, undecided: o.undecided + o.pending }), rate),
    el("p", {}, p.control.text),
    el("ul", {}, p.last.slice(0, 5).map((e) => el("li", {}, `${utc(e.occurred_at)} `, say("happened." + e.kind, { pair: `${e.symbol} ${e.interval}`, level: `${say("role." + e.role)} ${price(e.price, decimals([e.price]))}` }), say("comma"), say("events.edge", { edge: fixed(e.edge, 1) })))),
    el("details", {}, el("summary", { class: "soft" }, say("preview.notes")), p.notes.map((n) => el("p", { class: "soft" }, n))),
  ];
}

export class Alerts {
  rules = [];
  receivers = [];
  silences = [];
  deliveries = [];
  #opened = new Map(); // details of the deliveries that are open, by id, null until they are here
  #sure = ""; // what the next click deletes
  #said = {}; // at each part, the answer to what was last done

  // here returns what is shown.
  constructor(root, { here }) {
    Object.assign(this, { root, here });
    this.box = (part) => root.querySelector(`[data-part=${part}] div`);
    root.addEventListener("toggle", (e) => e.target.open && e.target.matches("#alerts, [data-part]") && this.load(), true);
  }

  // tick has what is open be as it is now.
  async tick() {
    if (this.root.open && !document.querySelector("dialog.edit")) await this.load();
  }

  async load() {
    const open = (part) => this.root.querySelector(`[data-part=${part}]`).open;
    const get = async (part, path, name = part) => {
      try {
        this[part] = (await ask(path))[name];
        if (this.#said[part]?.failed) delete this.#said[part];
      } catch (problem) {
        this.#said[part] = Object.assign(problemLine(problem), { failed: true });
      }
    };
    await Promise.all([get("rules", "rules"), get("receivers", "receivers"), open("silences") && get("silences", "silences"),
      open("deliveries") && get("deliveries", `deliveries?limit=${newest}`)]);
    this.draw();
  }

  // act does something about a part, says what became of it, and asks again.
  async act(part, what) {
    try {
      const said = await what();
      this.#said[part] = said ? el("p", { role: "status" }, said) : null;
    } catch (problem) {
      this.#said[part] = problemLine(problem);
    }
    await this.load();
  }

  // drop returns a button that deletes at its second click.
  drop(part, id, label) {
    const sure = this.#sure === part + id;
    return el("button", { type: "button", "aria-label": sure ? say("alerts.sure", { of: label }) : say("alerts.act", { act: say("delete"), of: label }), class: sure ? "sure" : "", onclick: () => {
      if (!sure) {
        this.#sure = part + id;
        this.draw();
        this.box(part).querySelector(".sure")?.focus();
        return;
      }
      this.#sure = "";
      this.act(part, () => ask(`${part}/${id}`, { method: "DELETE" }).then(() => say("alerts.deleted", { of: label })));
    } }, sure ? say("really") : say("delete"));
  }

  draw() {
    const { rules, receivers, silences } = this;
    const failing = receivers.filter((r) => r.state === "failing" || r.state === "disabled");
    this.root.querySelector("#alerts-state").textContent = (rules.length ? say("alerts.count", { n: rules.length }) : say("alerts.none"))
      + (failing.length ? say("alerts.failing", { failing: failing.length, all: receivers.length }) : "");
    this.drawRules();
    this.drawReceivers();
    put(this.box("silences"), this.#said.silences, el("ul", { class: "entries" }, silences.map((s) => el("li", {},
      el("span", {}, el("b", {}, any(s.pairs, say("scope.all"))), " ", el("span", { class: "soft" }, list([...s.exchanges, ...s.intervals, ...kindsOf(s.kinds)]), s.comment ? ` · ${s.comment}` : "", " · " + say("until", { at: utc(s.until) })), " ", fromFile(s)),
      s.from_file ? null : el("span", { class: "acts" }, button(say("silences.end"), any(s.pairs, say("scope.all")), () => this.act("silences", () => ask(`silences/${s.id}`, { method: "DELETE" }).then(() => say("silences.ended")))))))),
      silences.length ? null : el("p", { class: "soft" }, say("silences.none")), this.silencing());
    this.drawDeliveries();
  }

  // silencing are the buttons that silence the pair shown.
  silencing() {
    const { exchange, symbol } = this.here();
    if (!symbol || !exchange) return null;
    return el("p", { class: "acts" }, say("silences.for", { pair: symbol }), " ", [1, 8, 24].map((h) => button(say("hours", { count: h }), say("silences.pair", { pair: symbol }), () => this.act("silences", async () => {
      const until = new Date(Date.now() + h * 36e5).toISOString();
      await ask("silences", { method: "POST", body: { exchanges: [exchange], pairs: [symbol], until, comment: say("silences.comment") } });
      return say("silences.silenced", { pair: symbol, at: utc(until) });
    }))));
  }

  drawRules() {
    const state = (r) => r.paused ? "paused" : r.until && Date.parse(r.until) < Date.now() ? "ended" : "active";
    put(this.box("rules"), this.#said.rules, el("ul", { class: "entries" }, this.rules.map((r) => el("li", {},
      el("span", {}, el("b", {}, r.name), " ", el("span", { class: "state " + state(r) }, say("rule_state." + state(r))), " ", fromFile(r),
        el("small", {}, `${[any(kindsOf(r.kinds), say("rule.all_kinds")), any(r.pairs, say("scope.all")), any(r.intervals, say("rule.all_intervals")), say("rule.edge", { edge: r.min_edge }), r.quiet && say("rule.quiet", r.quiet), r.until && say("until", { at: utc(r.until) })].filter(Boolean).join(" · ")} → ${list(r.receivers)}`)),
      r.from_file ? null : el("span", { class: "acts" }, button(say("edit"), r.name, () => this.rule(r.id)),
        button(r.paused ? say("rule.resume") : say("rule.pause"), r.name, () => this.act("rules", () => {
          const { id, from_file, created_at, updated_at, ...settings } = this.rules.find((x) => x.id === r.id);
          return ask(`rules/${id}`, { method: "PUT", body: { ...settings, paused: !settings.paused } }).then(() => "");
        })), this.drop("rules", r.id, r.name))))),
      this.rules.length ? null : el("p", { class: "soft" }, say("rules.none")),
      el("p", { class: "acts" }, el("button", { type: "button", onclick: () => this.rule() }, say("rules.new")), this.receivers.length ? null : el("span", { class: "soft" }, say("rules.no_receiver"))));
  }

  // rule edits a rule, or a new one.
  async rule(id) {
    const { exchange, symbol, interval } = this.here();
    const stored = this.rules.find((r) => r.id === id);
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
    const value = stored ?? { name: "", receivers: this.receivers.slice(0, 1).map((r) => r.name), exchanges: exchange ? [exchange] : [], pairs: symbol ? [symbol] : [], intervals: [interval], kinds: ["touched"],
      roles: [], min_edge: 3, min_quote_volume: 0, quiet: null, until: null, paused: false, group_wait_ms: 2000, top: 5, inhibit: true };
    const fields = (v) => [
      { name: "name", label: say("name"), kind: "text" },
      { name: "receivers", label: say("alerts.receivers"), kind: "checks", options: this.receivers.map((r) => r.name), none: say("none_yet") },
      { name: "pairs", label: say("rule.pairs"), kind: "list", placeholder: say("all"), hint: say("rule.pairs_hint") },
      { name: "kinds", label: say("rule.kinds"), kind: "checks", options: kinds, text: (o) => say("kind." + o) },
      { name: "intervals", label: say("rule.intervals"), kind: "list", placeholder: say("all") },
      { name: "exchanges", label: say("exchanges"), kind: "list", placeholder: say("all") },
      { name: "roles", label: say("rule.roles"), kind: "checks", options: ["support", "resistance"], text: (o) => say("role." + o) },
      { name: "min_edge", label: say("rule.min_edge"), kind: "number" },
      { name: "min_quote_volume", label: say("rule.volume"), kind: "number" },
      { name: "until", label: say("rule.until"), kind: "time" },
      { name: "top", label: say("rule.top"), kind: "number" },
      { name: "group_wait_ms", label: say("rule.wait"), kind: "number" },
      { name: "inhibit", label: say("rule.inhibit"), kind: "check" },
      { name: "paused", label: say("rule.paused"), kind: "check" },
      { name: "quieted", label: say("rule.quieted"), kind: "check", redraws: true },
      ...(v.quieted ? [{ name: "quiet/from", label: say("rule.from"), kind: "text" }, { name: "quiet/to", label: say("rule.to"), kind: "text" }, { name: "quiet/zone", label: say("rule.zone"), kind: "text" },
        { name: "quiet/days", label: say("rule.days"), kind: "checks", options: days, text: (o) => say("day." + o) }, { name: "quiet/then", label: say("rule.then"), kind: "select", options: ["hold", "drop"], text: (o) => say("then." + o) }] : []),
    ];
    const finish = ({ quieted, ...v }) => ({ ...v, quiet: quieted ? v.quiet : null });
    const quiet = value.quiet ?? { from: "22:00", to: "07:00", zone, days: [], then: "hold" };
    const done = await edit({
      title: stored ? say("rules.title", { name: stored.name }) : say("rules.new"), finish,
      value: { ...value, quiet, quieted: !!value.quiet },
      fields: (v) => fields(v),
      save: (body) => ask(stored ? `rules/${id}` : "rules", { method: stored ? "PUT" : "POST", body }),
      attempt: { name: say("preview"), act: async (body) => previewed(await ask("rules/preview", { method: "POST", body: { ...body, name: body.name || "preview" } })) },
    });
    if (done) await this.load();
  }

  drawReceivers() {
    put(this.box("receivers"), this.#said.receivers, el("ul", { class: "entries" }, this.receivers.map((r) => {
      const to = Object.entries(r.shown ?? {}).map(([name, value]) => `${name} ${value}`).join(", ");
      return el("li", {},
        el("span", {}, el("b", {}, r.name), " ", el("span", { class: "state " + r.state }, say("receiver_state." + r.state)), " ", fromFile(r), el("small", {}, [r.kind, to, say("receiver.per_minute", { count: r.per_minute }), r.last_success_at && say("receiver.success", { at: utc(r.last_success_at) }),
          r.failing_since && say("receiver.failing_since", { at: utc(r.failing_since) })].filter(Boolean).join(" · ")), r.disabled_why ? el("small", { class: "stale" }, say("receiver.disabled_why", { why: r.disabled_why })) : null),
        el("span", { class: "acts" }, button(say("receiver.test"), r.name, () => this.act("receivers", async () => {
          const a = await ask(`receivers/${r.id}/test`, { method: "POST" });
          return a.outcome === "delivered" ? say("receiver.accepted", { name: r.name, status: String(a.status || "–"), ms: a.latency_ms }) : say("receiver.refused", { name: r.name, why: a.error || a.outcome });
        })), r.state === "disabled" ? button(say("receiver.enable"), r.name, () => this.act("receivers", () => ask(`receivers/${r.id}/enable`, { method: "POST" }).then(() => say("receiver.is_enabled", { name: r.name })))) : null,
        r.from_file || r.kind !== "webhook" ? null : button(say("rotate"), r.name, () => this.rotate(r)),
        r.from_file ? null : button(say("edit"), r.name, () => this.receiver(r.id)), r.from_file ? null : this.drop("receivers", r.id, r.name)));
    })), this.receivers.length ? null : el("p", { class: "soft" }, say("receivers.none")),
    el("p", { class: "acts" }, el("button", { type: "button", onclick: () => this.receiver() }, say("receivers.new"))));
  }

  // rotate gives a webhook another secret, and shows it once.
  async rotate(r) {
    let done;
    await edit({
      title: say("rotate.title", { name: r.name }), value: { signature: "v1", secret: "", overlap_hours: 24 },
      fields: () => [
        { name: "signature", label: say("rotate.signature"), kind: "select", options: ["v1", "v1a"], hint: say("rotate.signature_hint") },
        { name: "secret", label: say("rotate.secret"), ...secret, hint: say("rotate.secret_hint") },
        { name: "overlap_hours", label: say("rotate.overlap"), kind: "number" },
      ],
      save: async (body) => { done = await ask(`receivers/${r.id}/rotate`, { method: "POST", body }); },
    });
    if (done) await this.act("receivers", () => say(done.secret ? "rotate.made" : "rotate.done", { name: r.name, secret: done.secret, at: utc(done.until) }));
  }

  // receiver edits a receiver, or a new one.
  async receiver(id) {
    const stored = this.receivers.find((r) => r.id === id);
    const done = await edit({
      title: stored ? say("receivers.title", { name: stored.name }) : say("receivers.new"),
      value: stored ?? { name: "", kind: "webhook", per_minute: 20, notices_to: "" },
      fields: (v) => [
        { name: "name", label: say("name"), kind: "text" },
        { name: "kind", label: say("receiver.kind"), kind: "select", options: Object.keys(config), redraws: true },
        ...config[v.kind].map((f) => ({ ...f, name: "config/" + f.name })),
        { name: "per_minute", label: say("receiver.most"), kind: "number", hint: say("receiver.most_hint") },
        { name: "notices_to", label: say("receiver.notices"), kind: "select", options: ["", ...this.receivers.filter((r) => r.id !== id).map((r) => r.name)] },
      ],
      finish: (v) => {
        const c = Object.fromEntries(Object.entries(v.config).filter(([, value]) => value !== ""));
        if (c.headers) c.headers = Object.fromEntries(c.headers.split("\n").filter((l) => l.trim()).map((l) => l.split(/:(.*)/s).slice(0, 2).map((s) => s.trim())));
        const kept = stored?.kind === v.kind && Object.keys(c).every((name) => name === "security"); // an empty form keeps what is stored
        return { ...v, config: kept ? null : c };
      },
      save: (body) => ask(stored ? `receivers/${id}` : "receivers", { method: stored ? "PUT" : "POST", body }),
    });
    if (done) await this.load();
  }

  drawDeliveries() {
    const next = (d) => {
      const gathering = d.state === "gathering";
      if (d.finished_at) return utc(d.finished_at) + " UTC";
      if (!d.due_at) return say("delivery.waits");
      return Date.parse(d.due_at) > Date.now() ? say(gathering ? "delivery.sent_in" : "delivery.tried_in", { span: ahead(d.due_at) }) : say("now");
    };
    put(this.box("deliveries"), this.#said.deliveries, el("ul", { class: "entries" }, this.deliveries.map((d) => {
      const detail = this.#opened.get(d.id), title = d.title || say("delivery.untitled");
      return el("li", { class: "delivery" }, el("details", { open: this.#opened.has(d.id), "data-delivery": d.id, ontoggle: (e) => this.unfold(d.id, e.target.open) },
        el("summary", {}, el("span", { class: "state " + d.state }, say("delivery_state." + d.state)), " ", el("b", {}, title),
          el("small", {}, [(d.rule ? d.rule + " → " : "") + d.receiver, say("delivery.events", { n: d.events }) + (d.left_out ? say("delivery.left_out", { count: d.left_out }) : ""), d.attempts && say("delivery.attempts", { n: d.attempts }), next(d)].filter(Boolean).join(" · ")),
          d.error ? el("small", { class: "stale" }, sentence(d.error)) : null),
        detail ? el("pre", {}, detail.text) : null,
        detail?.log?.length ? el("ol", { class: "attempts" }, detail.log.map((a) => el("li", {}, `${utc(a.at)} `, el("b", {}, say("attempt_outcome." + a.outcome)), " ", say("attempt", { status: a.status ? String(a.status) : say("attempt.no_answer"), ms: a.latency_ms }), " ", el("span", { class: "stale" }, a.error)))) : null,
        detail ? el("span", { class: "acts" }, d.finished_at ? button(say("delivery.resend"), title, () => this.act("deliveries", () => ask(`deliveries/${d.id}/resend`, { method: "POST" }).then(() => say("delivery.resent"))))
          : button(say("cancel"), title, () => this.act("deliveries", () => ask(`deliveries/${d.id}`, { method: "DELETE" }).then(() => say("delivery.cancelled"))))) : null));
    })), this.deliveries.length ? null : el("p", { class: "soft" }, say("deliveries.none")));
    for (const d of this.deliveries) if (this.#opened.has(d.id)) this.detail(d);
  }

  unfold(id, open) {
    if (open === this.#opened.has(id)) return;
    if (open) this.#opened.set(id, null);
    else this.#opened.delete(id);
    const d = this.deliveries.find((d) => d.id === id);
    if (open && d) this.detail(d);
  }

  // detail asks for what was sent, unless that is here and cannot have changed.
  async detail(d) {
    const is = JSON.stringify(d);
    if (this.#opened.get(d.id)?.is === is) return;
    const detail = await ask(`deliveries/${d.id}`).catch((problem) => ({ text: problem.message, log: [] }));
    if (!this.#opened.has(d.id)) return;
    this.#opened.set(d.id, { ...detail, is });
    this.draw();
  }
}
