// Verifies webhook.json, a request that a receiver got, by the reference library of
// Standard Webhooks: every secret accepts it, and no other secret or body is accepted.
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const { body, headers, secrets, other } = JSON.parse(readFileSync("webhook.json", "utf8"));
for (const secret of secrets) {
  new Webhook(secret).verify(body, headers);
}
for (const [secret, text] of [[other, body], [secrets[0], body + " "]]) {
  let accepted = true;
  try {
    new Webhook(secret).verify(text, headers);
  } catch {
    accepted = false;
  }
  if (accepted) throw new Error("a forged request is accepted");
}
