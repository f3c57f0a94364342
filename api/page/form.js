// A dialog with a form whose problems stand at their fields.

import { sentence } from "./ask.js";
import { el } from "./format.js";
import { say } from "./words.js";

// A field is {name, label, kind, options, hint, secret}: the name is a JSON pointer without
// its first slash. Kinds: text, lines, number, list (words between commas), checks and
// select (of options, written as text says), check, and time (UTC).
const reads = {
  text: (input) => input.value.trim(),
  lines: (input) => input.value,
  number: (input) => input.value === "" ? null : Number(input.value),
  list: (input) => input.value.split(",").map((s) => s.trim()).filter(Boolean),
  select: (input) => input.value,
  check: (input) => input.checked,
  checks: (box) => [...box.querySelectorAll("input:checked")].map((i) => i.value),
  time: (input) => input.value ? input.value + ":00Z" : null,
};

function control(f, value, id) {
  const common = { id, name: f.name, autocomplete: "off", placeholder: f.placeholder }, written = f.text ?? ((o) => o);
  switch (f.kind) {
    case "lines": return el("textarea", { ...common, rows: 4 }, value ?? "");
    case "number": return el("input", { ...common, type: "number", min: 0, step: "any", value });
    case "list": return el("input", { ...common, value: (value ?? []).join(", ") });
    case "select": return el("select", common, f.options.map((o) => el("option", { value: o, selected: o === value }, written(o))));
    case "check": return el("input", { ...common, type: "checkbox", checked: !!value });
    case "checks": return el("span", { id, class: "checks" }, f.options.length ? f.options.map((o) => el("label", { class: "check" }, el("input", { type: "checkbox", value: o, checked: (value ?? []).includes(o) }), written(o))) : f.none);
    case "time": return el("input", { ...common, type: "datetime-local", value: value?.slice(0, 16) });
  }
  return el("input", { ...common, type: f.secret ? "password" : "text", autocomplete: f.secret ? "new-password" : "off", value });
}

// within returns what a pointer without its first slash means in a value.
const within = (value, name) => name.split("/").reduce((v, k) => v?.[k], value);

let forms = 0;

// edit opens a form of a value, and resolves with true once save has stored what fields
// say, or with false if it was closed. fields returns them, of the value there is in the
// form; finish makes the body of it; attempt, if
// there is one, is another button: its act returns what to show for the body.
export function edit({ title, value, fields, finish = (v) => v, save, attempt }) {
  const before = document.activeElement, own = `form-${++forms}`;
  const box = el("div", { class: "fields" }), alert = el("div", { role: "alert", class: "problem" }), result = el("div", { class: "result", role: "status" });
  let shown = [];
  const draw = (v) => {
    shown = fields(v).map((f) => {
      const id = `${own}-${f.name.replace("/", "-")}`, input = control(f, within(v, f.name), id);
      const wrong = el("p", { id: id + "-wrong", class: "problem" });
      const group = f.kind === "checks";
      const row = el(group ? "fieldset" : "div", { class: "field" + (f.kind === "check" ? " check" : "") },
        el(group ? "legend" : "label", group ? {} : { for: id }, f.label), input, f.hint ? el("small", {}, f.hint) : null, wrong);
      if (f.redraws) input.addEventListener("change", () => {
        draw({ ...value, ...read() });
        document.getElementById(id).focus();
      });
      return { ...f, input, wrong, row };
    });
    box.replaceChildren(...shown.map((f) => f.row));
  };
  const read = () => {
    const out = {};
    for (const f of shown) {
      const parts = f.name.split("/"), last = parts.pop();
      parts.reduce((o, k) => (o[k] ??= {}), out)[last] = reads[f.kind](f.input);
    }
    return out;
  };
  // tell writes each problem at the field that it is of, and the others above.
  const tell = (problem) => {
    result.replaceChildren();
    for (const f of shown) {
      f.wrong.textContent = "";
      f.input.removeAttribute("aria-invalid");
      f.input.removeAttribute("aria-describedby");
    }
    alert.textContent = "";
    const rest = [];
    for (const { pointer = "", detail } of problem.errors) {
      const at = pointer.slice(1) + "/";
      const f = pointer && (shown.findLast((f) => at.startsWith(f.name + "/")) ?? shown.find((f) => (f.name + "/").startsWith(at)));
      if (!f) rest.push((pointer ? pointer.slice(1) + ": " : "") + detail);
      else {
        f.wrong.append(sentence((f.wrong.textContent ? " " : "") + detail));
        f.input.setAttribute("aria-invalid", "true");
        f.input.setAttribute("aria-describedby", f.wrong.id);
      }
    }
    if (!problem.errors.length && problem.message) rest.push(problem.message);
    alert.textContent = rest.map(sentence).join(" ");
    const first = shown.find((f) => f.input.hasAttribute("aria-invalid"))?.input;
    (first?.matches("span") ? first.querySelector("input") : first)?.focus();
  };
  return new Promise((resolve) => {
    let stored = false;
    const dialog = el("dialog", { class: "edit", "aria-labelledby": own, onclose: () => {
      dialog.remove();
      before?.focus();
      resolve(stored);
    } }, el("form", { novalidate: true, onsubmit: async (e) => {
      e.preventDefault();
      const button = e.submitter, tries = button?.value === "try";
      if (button) button.disabled = true;
      try {
        if (tries) {
          const found = await attempt.act(finish(read()));
          tell({ errors: [], message: "" });
          result.replaceChildren(...found);
          result.scrollIntoView({ block: "nearest" });
        } else {
          await save(finish(read()));
          stored = true;
          dialog.close();
        }
      } catch (problem) {
        tell({ errors: [], ...problem, message: problem.message });
      } finally {
        if (button) button.disabled = false;
        if (dialog.open && !dialog.contains(document.activeElement)) button?.focus();
      }
    } }, el("h2", { id: own }, title), alert, box, result, el("footer", {}, el("button", { class: "primary" }, say("save")),
      attempt ? el("button", { value: "try" }, attempt.name) : null,
      el("button", { type: "button", onclick: () => dialog.close() }, say("close")))));
    draw(value);
    document.body.append(dialog);
    dialog.showModal();
  });
}
