// The texts of the page. Each language has a file of them, such as en.js; the service
// chooses which of them index.html loads.

const { words } = globalThis;

// language is the tag (BCP 47) of the language of the page.
export const { language } = words;

const plural = new Intl.PluralRules(language);
const written = new Intl.NumberFormat(language);

// say returns the text of a key. Values replace their names in braces; numbers are
// written as the language does. A text with a singular is chosen by the value n. A key
// without a text, such as a state that a newer service has, is its last part.
export function say(key, values = {}) {
  const text = words[key] ?? key.slice(key.indexOf(".") + 1);
  return (text[plural.select(values.n)] ?? text.other ?? text).replace(/\{(\w+)\}/g, (_, name) => typeof values[name] === "number" ? written.format(values[name]) : values[name] ?? "");
}
