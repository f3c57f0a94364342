// An analysis as of a price that is newer than it.

// newest returns the newest price known of an analysis, { price, at }: that of the reply, or the
// close of the candle that is forming; null if there is none since the last close.
export function newest(analysis, forming) {
  const of = [];
  if (analysis.price !== null) of.push({ price: analysis.price, at: analysis.price_at });
  if (forming?.kline && forming.kline[0] >= Date.parse(analysis.as_of)) of.push({ price: forming.kline[4], at: forming.at });
  return of.toSorted((a, b) => Date.parse(b.at) - Date.parse(a.at))[0] ?? null;
}

const round = (x, d) => Number(x.toFixed(d));

// moved returns an analysis as of a price, as the service does between closes: distances are
// from that price, and a level that price has passed since the last close has the other role,
// and no odds until the next one.
export function moved(analysis, now) {
  if (!now) return analysis;
  const { price, at } = now;
  const all = ["support", "resistance"].flatMap((role) => analysis[role + "s"].map((l) => {
    const before = l.passed === (role === "support") ? "resistance" : "support"; // its role at the close
    const after = l.price > price ? "resistance" : "support";
    const passed = before !== after;
    return {
      ...l, role: after, passed, distance_pct: round(100 * (l.price / price - 1), 3),
      distance_atr: l.distance_atr === null ? null : round((l.price - price) / analysis.atr, 2),
      ...(passed ? { touch_probability: null, hold_probability: null, hold_interval: null, baseline_hold_probability: null, samples: null } : {}),
    };
  }));
  const side = (role) => all.filter((l) => l.role === role).toSorted((a, b) => Math.abs(a.price - price) - Math.abs(b.price - price));
  return { ...analysis, price, price_at: at, supports: side("support"), resistances: side("resistance") };
}
