// Runs before anything is drawn, so that a theme chosen before does not flash, and sends
// the first requests, so that they do not wait for the other scripts. ask.js takes the replies.

import { jobs, klinesOf, levelsOf, marksOf, nearestOf, stated } from "./paths.js";

document.documentElement.dataset.theme = localStorage.getItem("tidemark-theme") ?? "auto";

const key = sessionStorage.getItem("tidemark-key"), view = stated(location.search);
const pair = view.symbol && view.interval ? [levelsOf(view), klinesOf(view), ...(localStorage.getItem("tidemark-marks") === "off" ? [] : [marksOf(view)])] : [nearestOf(view)];
globalThis.early = new Map([jobs, "exchanges", ...pair].map((path) => {
  const reply = fetch(path, { headers: key ? { "X-API-Key": key } : {}, cache: "no-cache" });
  reply.catch(() => {}); // ask.js handles the error of a reply that it takes
  return [path, reply];
}));
