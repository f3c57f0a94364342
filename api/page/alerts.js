// Alerts of the service: rules, receivers, silences, and the messages that were sent.

import { ask, say, sentence } from "./ask.js";
import { count, decimals, el, percent, price, put, span, svg, utc } from "./format.js";
import { edit } from "./form.js";

const kinds = ["approaching", "touched", "held", "broke", "flipped", "appeared", "vanished"];
const days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const newest = 20;

const any = (list, what) => list.length ? list.join(", ") : `all ${what}`;
const button = (text, label, onclick, attributes) => el("button", { type: "button", "aria-label": `${text}: ${label}`, onclick, ...attributes }, text);
const fixed = (v) => v.from_file ? el("span", { class: "state" }, "of RULES_FILE") : null;
const ahead = (t) => span(Date.parse(t) - Date.now());

// What the configuration of a kind of receiver has.
const secret = { kind: "text", secret: true };
const config = {
  webhook: [{ name: "url", label: "URL", kind: "text" }, { name: "secret", label: "Secret (whsec_…)", ...secret }, { name: "key", label: "Signing key (whsk_…), instead or in addition", ...secret },
    { name: "template", label: "Template of the body, if not the JSON", kind: "lines" }, { name: "content_type", label: "Content type of the template", kind: "text" },
    { name: "headers", label: "Headers, a line each (Name: value)", kind: "lines" }],
  telegram: [{ name: "token", label: "Token of the bot", ...secret }, { name: "chat", label: "Chat", kind: "text" }, { name: "server", label: "Server, if not Telegram's", kind: "text" }],
  discord: [{ name: "url", label: "URL of the webhook", ...secret }],
  slack: [{ name: "url", label: "URL of the webhook", ...secret }],
  ntfy: [{ name: "topic", label: "Topic", kind: "text" }, { name: "server", label: "Server, if not ntfy.sh", kind: "text" }, { name: "token", label: "Token, if it needs one", ...secret }],
  matrix: [{ name: "server", label: "Server", kind: "text" }, { name: "room", label: "Room", kind: "text" }, { name: "token", label: "Token", ...secret }],
  email: [{ name: "server", label: "Server (host:port)", kind: "text" }, { name: "security", label: "Security", kind: "select", options: ["starttls", "tls", "none"] }, { name: "user", label: "User", kind: "text" },
    { name: "password", label: "Password", ...secret }, { name: "from", label: "From", kind: "text" }, { name: "to", label: "To", kind: "text" }],
};

// previewed writes what a rule would have sent.
function previewed(p) {
  const most = Math.max(1, ...p.by_day.map((d) => d.messages)), o = p.outcomes;
  const counts = Object.entries(p.by_kind).filter(([, n]) => n).map(([kind, n]) => `${count(n)} ${kind}`).join(", ");
  const busiest = p.busiest_hour ? ` Busiest hour: ${count(p.busiest_hour.messages)} messages, ${utc(p.busiest_hour.from)} UTC.` : "";
  const rate = o.hold_rate === null ? "" : ` Of the decided ones ${percent(o.hold_rate, 0)} held or flipped${o.promised === null ? "" : `, promised were ${percent(o.promised, 0)}, any line ${percent(o.baseline, 0)}`}.`;
  return [
    el("h3", {}, `In the last ${p.days} days it would have sent ${count(p.messages)} messages`),
    el("p", {}, p.simulated ? el("b", { class: "stale" }, "SIMULATED. ") : "", `${count(p.events)} events${counts ? `: ${counts}` : ""}, on ${count(p.series)} series.${busiest}`),
    svg("svg", { class: "days", viewBox: `0 0 ${Math.max(1, p.by_day.length) * 8} 40`, preserveAspectRatio: "none", role: "img", "aria-label": `Messages a day, at most ${most}` },
      ...p.by_day.map((d, i) => svg("rect", { x: i * 8 + 1, width: 6, y: 40 - 38 * d.messages / most, height: 38 * d.messages / most }))),
    el("p", {}, `Its levels were touched ${count(o.touched)} times: ${count(o.held)} held, ${count(o.flipped)} flipped, ${count(o.broke)} broke, ${count(o.undecided + o.pending)} not decided.${rate}`),
    el("p", {}, p.control.text),
    el("ul", {}, p.last.slice(0, 5).map((e) => el("li", {}, `${utc(e.occurred_at)} ${e.symbol} ${e.interval} ${e.kind}: ${e.role} ${price(e.price, decimals([e.price]))}, edge ${e.edge.toFixed(1)}`))),
    el("details", {}, el("summary", { class: "soft" }, "How a preview differs"), p.notes.map((n) => el("p", { class: "soft" }, n))),
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
        this.#said[part] = Object.assign(say(problem), { failed: true });
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
      this.#said[part] = say(problem);
    }
    await this.load();
  }

  // drop returns a button that deletes at its second click.
  drop(part, id, label, text = "Delete") {
    const sure = this.#sure === part + id;
    return el("button", { type: "button", "aria-label": sure ? `Really: ${text} ${label}` : `${text}: ${label}`, class: sure ? "sure" : "", onclick: () => {
      if (!sure) {
        this.#sure = part + id;
        this.draw();
        this.box(part).querySelector(".sure")?.focus();
        return;
      }
      this.#sure = "";
      this.act(part, () => ask(`${part}/${id}`, { method: "DELETE" }).then(() => `${text}d: ${label}.`));
    } }, sure ? "Really?" : text);
  }

  draw() {
    const { rules, receivers, silences } = this;
    const failing = receivers.filter((r) => r.state === "failing" || r.state === "disabled");
    this.root.querySelector("#alerts-state").textContent = (rules.length ? `${rules.length} ${rules.length === 1 ? "rule" : "rules"}` : "no rule")
      + (failing.length ? `, ${failing.length} of ${receivers.length} receivers fail` : "");
    this.drawRules();
    this.drawReceivers();
    put(this.box("silences"), this.#said.silences, el("ul", { class: "entries" }, silences.map((s) => el("li", {},
      el("span", {}, el("b", {}, any(s.pairs, "pairs")), " ", el("span", { class: "soft" }, [...s.exchanges, ...s.intervals, ...s.kinds].join(", "), s.comment ? ` · ${s.comment}` : "", ` · until ${utc(s.until)} UTC`), " ", fixed(s)),
      s.from_file ? null : el("span", { class: "acts" }, button("End now", any(s.pairs, "pairs"), () => this.act("silences", () => ask(`silences/${s.id}`, { method: "DELETE" }).then(() => "It has ended."))))))),
      silences.length ? null : el("p", { class: "soft" }, "Nothing is silenced."), this.silencing());
    this.drawDeliveries();
  }

  // silencing are the buttons that silence the pair shown.
  silencing() {
    const { exchange, symbol } = this.here();
    if (!symbol || !exchange) return null;
    return el("p", { class: "acts" }, `Silence ${symbol} for `, [1, 8, 24].map((h) => button(`${h} h`, `silence ${symbol}`, () => this.act("silences", async () => {
      const until = new Date(Date.now() + h * 36e5).toISOString();
      await ask("silences", { method: "POST", body: { exchanges: [exchange], pairs: [symbol], until, comment: "from the page" } });
      return `No message about ${symbol} until ${utc(until)} UTC.`;
    }))));
  }

  drawRules() {
    const state = (r) => r.paused ? "paused" : r.until && Date.parse(r.until) < Date.now() ? "ended" : "active";
    put(this.box("rules"), this.#said.rules, el("ul", { class: "entries" }, this.rules.map((r) => el("li", {},
      el("span", {}, el("b", {}, r.name), " ", el("span", { class: "state " + state(r) }, state(r)), " ", fixed(r),
        el("small", {}, `${any(r.kinds, "kinds")} · ${any(r.pairs, "pairs")} · ${any(r.intervals, "intervals")} · edge ${r.min_edge} or more${r.quiet ? ` · quiet ${r.quiet.from} to ${r.quiet.to}` : ""}${r.until ? ` · until ${utc(r.until)} UTC` : ""} → ${r.receivers.join(", ")}`)),
      r.from_file ? null : el("span", { class: "acts" }, button("Edit", r.name, () => this.rule(r.id)),
        button(r.paused ? "Resume" : "Pause", r.name, () => this.act("rules", () => {
          const { id, from_file, created_at, updated_at, ...settings } = this.rules.find((x) => x.id === r.id);
          return ask(`rules/${id}`, { method: "PUT", body: { ...settings, paused: !settings.paused } }).then(() => "");
        })), this.drop("rules", r.id, r.name))))),
      this.rules.length ? null : el("p", { class: "soft" }, "A rule sends events to receivers: to a webhook, a chat, a phone or a mailbox. It works while no page is open."),
      el("p", { class: "acts" }, el("button", { type: "button", onclick: () => this.rule() }, "New rule"), this.receivers.length ? null : el("span", { class: "soft" }, "It needs a receiver first.")));
  }

  // rule edits a rule, or a new one.
  async rule(id) {
    const { exchange, symbol, interval } = this.here();
    const stored = this.rules.find((r) => r.id === id);
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
    const value = stored ?? { name: "", receivers: this.receivers.slice(0, 1).map((r) => r.name), exchanges: exchange ? [exchange] : [], pairs: symbol ? [symbol] : [], intervals: [interval], kinds: ["touched"],
      roles: [], min_edge: 3, min_quote_volume: 0, quiet: null, until: null, paused: false, group_wait_ms: 2000, top: 5, inhibit: true };
    const fields = (v) => [
      { name: "name", label: "Name", kind: "text" },
      { name: "receivers", label: "Receivers", kind: "checks", options: this.receivers.map((r) => r.name), none: "None yet." },
      { name: "pairs", label: "Pairs", kind: "list", placeholder: "all", hint: "BTCUSDT, BTC/USDT, */USDT, @watched: the list of that name on the server" },
      { name: "kinds", label: "Kinds (none: all)", kind: "checks", options: kinds },
      { name: "intervals", label: "Intervals", kind: "list", placeholder: "all" },
      { name: "exchanges", label: "Exchanges", kind: "list", placeholder: "all" },
      { name: "roles", label: "Roles (none: both)", kind: "checks", options: ["support", "resistance"] },
      { name: "min_edge", label: "Least edge, points", kind: "number" },
      { name: "min_quote_volume", label: "Least 24 h volume, in the quote", kind: "number" },
      { name: "until", label: "Ends (UTC)", kind: "time" },
      { name: "top", label: "Events a message shows", kind: "number" },
      { name: "group_wait_ms", label: "Wait for more events of a close, ms", kind: "number" },
      { name: "inhibit", label: "Levels cover those of shorter intervals in their zone", kind: "check" },
      { name: "paused", label: "Paused", kind: "check" },
      { name: "quieted", label: "Quiet hours", kind: "check", redraws: true },
      ...(v.quieted ? [{ name: "quiet/from", label: "From", kind: "text" }, { name: "quiet/to", label: "To", kind: "text" }, { name: "quiet/zone", label: "Time zone", kind: "text" },
        { name: "quiet/days", label: "On (none: every day)", kind: "checks", options: days }, { name: "quiet/then", label: "Then", kind: "select", options: ["hold", "drop"], hint: "hold: one summary at their end" }] : []),
    ];
    const finish = ({ quieted, ...v }) => ({ ...v, quiet: quieted ? v.quiet : null });
    const quiet = value.quiet ?? { from: "22:00", to: "07:00", zone, days: [], then: "hold" };
    const done = await edit({
      title: stored ? `Rule ${stored.name}` : "New rule", finish,
      value: { ...value, quiet, quieted: !!value.quiet },
      fields: (v) => fields(v),
      save: (body) => ask(stored ? `rules/${id}` : "rules", { method: stored ? "PUT" : "POST", body }),
      attempt: { name: "Preview", act: async (body) => previewed(await ask("rules/preview", { method: "POST", body: { ...body, name: body.name || "preview" } })) },
    });
    if (done) await this.load();
  }

  drawReceivers() {
    put(this.box("receivers"), this.#said.receivers, el("ul", { class: "entries" }, this.receivers.map((r) => {
      const to = Object.entries(r.shown ?? {}).map(([name, value]) => `${name} ${value}`).join(", ");
      return el("li", {},
        el("span", {}, el("b", {}, r.name), " ", el("span", { class: "state " + r.state }, r.state), " ", fixed(r), el("small", {}, `${r.kind}${to ? ` · ${to}` : ""} · at most ${r.per_minute} a minute`
          + (r.last_success_at ? ` · last success ${utc(r.last_success_at)} UTC` : "") + (r.failing_since ? ` · fails since ${utc(r.failing_since)} UTC` : "")), r.disabled_why ? el("small", { class: "stale" }, `Disabled: ${r.disabled_why}`) : null),
        el("span", { class: "acts" }, button("Test", r.name, () => this.act("receivers", async () => {
          const a = await ask(`receivers/${r.id}/test`, { method: "POST" });
          return a.outcome === "delivered" ? `${r.name} has accepted a test message (${a.status || "no status"}, ${a.latency_ms} ms).` : `${r.name} has not accepted a test message: ${a.error || a.outcome}.`;
        })), r.state === "disabled" ? button("Enable", r.name, () => this.act("receivers", () => ask(`receivers/${r.id}/enable`, { method: "POST" }).then(() => `${r.name} is enabled.`))) : null,
        r.from_file ? null : button("Edit", r.name, () => this.receiver(r.id)), r.from_file ? null : this.drop("receivers", r.id, r.name)));
    })), this.receivers.length ? null : el("p", { class: "soft" }, "None yet. Where messages go is stored encrypted, so the service needs SECRETS_KEY (32 bytes: openssl rand -base64 32). Addresses of private networks need RECEIVERS_ALLOW."),
    el("p", { class: "acts" }, el("button", { type: "button", onclick: () => this.receiver() }, "New receiver")));
  }

  // receiver edits a receiver, or a new one.
  async receiver(id) {
    const stored = this.receivers.find((r) => r.id === id);
    const done = await edit({
      title: stored ? `Receiver ${stored.name}` : "New receiver",
      value: stored ?? { name: "", kind: "webhook", per_minute: 20, notices_to: "" },
      fields: (v) => [
        { name: "name", label: "Name", kind: "text" },
        { name: "kind", label: "Kind", kind: "select", options: Object.keys(config), redraws: true },
        ...config[v.kind].map((f) => ({ ...f, name: "config/" + f.name })),
        { name: "per_minute", label: "Most messages a minute", kind: "number", hint: "what exceeds them is one summary" },
        { name: "notices_to", label: "Notice when it is disabled to", kind: "select", options: ["", ...this.receivers.filter((r) => r.id !== id).map((r) => r.name)] },
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
    const next = (d) => d.finished_at ? utc(d.finished_at) + " UTC" : !d.due_at ? "waits for an earlier one" : Date.parse(d.due_at) > Date.now() ? `${d.state === "gathering" ? "sent" : "tried"} in ${ahead(d.due_at)}` : "now";
    put(this.box("deliveries"), this.#said.deliveries, el("ul", { class: "entries" }, this.deliveries.map((d) => {
      const detail = this.#opened.get(d.id), title = d.title || "Events of a close";
      return el("li", { class: "delivery" }, el("details", { open: this.#opened.has(d.id), "data-delivery": d.id, ontoggle: (e) => this.unfold(d.id, e.target.open) },
        el("summary", {}, el("span", { class: "state " + d.state }, d.state), " ", el("b", {}, title),
          el("small", {}, `${d.rule ? d.rule + " → " : ""}${d.receiver} · ${count(d.events)} ${d.events === 1 ? "event" : "events"}${d.left_out ? `, ${d.left_out} left out` : ""}${d.attempts ? ` · ${d.attempts} failed attempts` : ""} · ${next(d)}`),
          d.error ? el("small", { class: "stale" }, sentence(d.error)) : null),
        detail ? el("pre", {}, detail.text) : null,
        detail?.log?.length ? el("ol", { class: "attempts" }, detail.log.map((a) => el("li", {}, `${utc(a.at)} `, el("b", {}, a.outcome), ` ${a.status || "no answer"} in ${a.latency_ms} ms `, el("span", { class: "stale" }, a.error)))) : null,
        detail ? el("span", { class: "acts" }, d.finished_at ? button("Send again", title, () => this.act("deliveries", () => ask(`deliveries/${d.id}/resend`, { method: "POST" }).then(() => "It is sent again.")))
          : button("Cancel", title, () => this.act("deliveries", () => ask(`deliveries/${d.id}`, { method: "DELETE" }).then(() => "Cancelled.")))) : null));
    })), this.deliveries.length ? null : el("p", { class: "soft" }, "No message yet."));
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
