// The requests that the view of a pair begins with, which first.js sends while the other
// scripts load.

// query writes parameters, without those that are empty.
export function query(parameters) {
  const q = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== "" && value != null) q.set(name, value);
  return q.size ? "?" + q : "";
}

export const jobs = "jobs?limit=8";
export const levelsOf = ({ symbol, interval, exchange }) => `levels/${encodeURIComponent(symbol)}${query({ interval, exchange, faint: true })}`;
export const marksOf = ({ symbol, interval, exchange }) => `levels/${encodeURIComponent(symbol)}/marks${query({ interval, exchange })}`;

// klinesOf asks for as many candles as are drawn at first.
export const klinesOf = ({ symbol, interval, exchange }) => `klines/${encodeURIComponent(symbol)}${query({ interval, exchange, limit: 300 })}`;

// nearestOf asks for the level that price is nearest to, of all pairs.
export const nearestOf = ({ interval, exchange }) => "levels" + query({ limit: 1, exchange, interval });

// stated returns what an address says is to be shown; exchange is empty if it says none.
export function stated(address) {
  const q = new URLSearchParams(address);
  return { exchange: /^[a-z0-9-]{1,32}$/.exec(q.get("exchange") ?? "")?.[0] ?? "", symbol: q.get("symbol") ?? "", interval: q.get("interval") ?? "" };
}
