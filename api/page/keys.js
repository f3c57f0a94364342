// What keys do anywhere on the page; a slash is the search's.

// Where arrows have a meaning of their own.
const busy = "input:not([type=checkbox]), select, textarea, dialog *, [role=listbox] *, [tabindex='0']:not(button)";

// listen calls walk with -1 or 1 for the level above or below, close for Escape and full for f,
// and shows dialog, which names the keys.
export function listen({ walk, close, full, dialog }) {
  const help = () => dialog.open || dialog.showModal();
  dialog.addEventListener("click", (e) => e.target.closest("button") && dialog.close());
  document.addEventListener("keydown", (e) => {
    if (e.defaultPrevented || e.ctrlKey || e.metaKey || e.altKey || document.querySelector("dialog[open]")) return;
    const acts = { ArrowUp: () => walk(-1), ArrowDown: () => walk(1), "?": help, f: full };
    if (e.key === "Escape" && !e.target.matches("input, select, textarea")) return close();
    if (!acts[e.key] || e.target.matches(e.key.startsWith("Arrow") ? busy : "input:not([type=radio], [type=range], [type=checkbox]), select, textarea")) return;
    e.preventDefault();
    acts[e.key]();
  });
  return help;
}
