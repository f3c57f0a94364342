"""The types of openapi.yaml, from which they are generated. Times are text (RFC 3339, UTC)."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

# Length of a candle.
Interval: TypeAlias = Literal["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w"]

# Name of an exchange.
Exchange: TypeAlias = str

# The side of a level relative to the last price.
Role: TypeAlias = Literal["support", "resistance"]

# What price last did to a level.
Status: TypeAlias = Literal["active", "broken", "flipped"]

# What tests say of a level in its present role. Highs and lows decide tests, not closes: a wick that goes through by one ATR from the touch line breaks a level, even if the candle closes back; a shorter one does not. Price also passes a level without a decided test: when a test stays undecided and price leaves on the other side, or when the last close is beyond it. `broke` counts decided tests only.
State: TypeAlias = Literal["untested", "held", "broken", "reclaimed", "unknown"]

# A method that found a level.
Source: TypeAlias = Literal["swing", "poc", "value_area", "volume", "ends"]

# What happened to a level. Each happens once in an episode, which begins when price comes near; the level must be left by 1.5 ATR before the next one.
EventKind: TypeAlias = Literal["appeared", "approaching", "touched", "held", "broke", "flipped", "vanished"]

# What to analyse. Exactly one of `symbol`, `symbols`, `all` and `klines` is required.
class AnalyzeRequest(TypedDict):
    # One pair.
    symbol: NotRequired[str]
    # Several pairs; duplicates are ignored.
    symbols: NotRequired[list[str]]
    # Every pair the configuration selects: a sweep.
    all: NotRequired[bool]
    # Your own closed klines, oldest first, at least 50. Each is a row `[open_time, open, high, low, close, volume]`: the open time in Unix milliseconds (seconds and microseconds are recognised), the rest numbers, or numbers in strings as exchanges write them. Rows may have more columns, as those of exchanges do; they are ignored. `interval` is required.
    klines: NotRequired[list[list[Any]]]
    # An exchange of this process. A symbol needs it only if several of its exchanges have the pair; a list of symbols and all need it if the process has several. With klines it is their origin, which may be any name; the analysis repeats it, and ids of levels do not depend on it.
    exchange: NotRequired[Exchange]
    interval: NotRequired[Interval]
    # The maximum number of closed candles in the analysis. The default is `ANALYSIS_KLINE_LIMIT`; with klines, all of them.
    kline_limit: NotRequired[int]
    # Whether the analysis is stored. The default is true, unless `kline_limit` differs from `ANALYSIS_KLINE_LIMIT`: then an analysis replaces the stored one only with `store: true`. Analyses of several symbols and `all` are always stored, so they require `store: true` with such a `kline_limit`; an analysis of klines cannot be stored.
    store: NotRequired[bool]
    # Whether the analysis in the reply includes faint levels, with an edge of at least 0; they are marked as such. The default is false. It is about the reply: faint levels are always stored. The result of a job has none, so true is refused with `Prefer: respond-async`, and both values with `symbols` or `all`.
    faint: NotRequired[bool]
    # With klines: the price step of the market, to which prices of the reply are rounded. Without it the step is inferred from the decimals of the klines, zeros at the end left out: 0.01 if no price has more than two. If a price has more than 12 decimals or 15 digits, nothing is rounded.
    tick_size: NotRequired[float]

# Klines, and the moments as of which their levels are wanted. Exactly one of `moments` and `every` is required.
HistoryRequest = TypedDict("HistoryRequest", {
    # As in `AnalyzeRequest`.
    "klines": "list[list[Any]]",
    "interval": "Interval",
    # Times in any order: RFC 3339, or numbers in the unit of the open times.
    "moments": "NotRequired[list[Moment]]",
    # The moments are the closes of klines at a multiple of so many intervals since 1970, such as 24 for midnight UTC with 1h: the same moments whichever klines are sent.
    "every": "NotRequired[int]",
    # With `every`: the first moment, as in `moments`. The klines before it are only history.
    "from": "NotRequired[Moment]",
    # The number of klines up to each moment that are analysed, at most twice `ANALYSIS_KLINE_LIMIT`, which is the default.
    "kline_limit": "NotRequired[int]",
    # As in `AnalyzeRequest`.
    "tick_size": "NotRequired[float]",
    # Whether faint levels are included. The default is true with `min_edge`, else false.
    "faint": "NotRequired[bool]",
    # Only levels with at least this edge, in points, as `min_edge` of `GET /levels/{symbol}`.
    "min_edge": "NotRequired[float]",
})

# A time.
Moment: TypeAlias = str | int

# The levels of klines as of past moments.
class History(TypedDict):
    interval: Interval
    # The number of klines in the request.
    klines: int
    # The maximum number of klines in an analysis.
    kline_limit: int
    # The unit of the open times as they were sent.
    time_unit: Literal["seconds", "milliseconds", "microseconds"]
    # That of the request. Null without one: prices are then rounded to the decimals of the klines up to each moment.
    tick_size: float | None
    # Names the rules for finding levels.
    algorithm: str
    # The edge, in points, from which levels are shown unasked (`LEVELS_MIN_EDGE`).
    min_edge: float
    # In the order of the request.
    moments: list[HistoryMoment]

# What the klines that had closed at a moment say.
class HistoryMoment(TypedDict):
    # The moment.
    at: str
    # Close time of the last kline that was used; null without klines.
    as_of: str | None
    # Close of that kline; null with `problem`.
    last_price: float | None
    # Mean true range of the last 100 klines (all if fewer), in price units; null with `problem`.
    atr: float | None
    # The number of klines in the analysis.
    klines: int
    # Supports from the nearest downwards, then resistances from the nearest upwards.
    levels: list[HistoryLevel]
    # Why there is no analysis (`too_few_candles`); null if there is.
    problem: None | Reason

# The fields of `Level` that tests of strategies need most, and its role.
class HistoryLevel(TypedDict):
    # The same for the same level at all moments, and in `POST /analyze`; ids of stored levels differ.
    id: str
    role: Role
    price: float
    # Lower edge of the zone.
    low: float
    # Upper edge of the zone.
    high: float
    # Points.
    edge: float
    faint: bool
    state: State
    # Null without odds.
    touch_probability: float | None
    # Null without odds.
    hold_probability: float | None
    # Null without odds.
    baseline_hold_probability: float | None

# The levels of a pair, as of the close of its last closed candle.
class Analysis(TypedDict):
    # Null for your own klines.
    symbol: str | None
    # The canonical name: BASE/QUOTE, or BASE/QUOTE:SETTLE for a contract. Null if it is not known, which it is once a sweep of the exchange has been planned.
    name: str | None
    # Null for your own klines, unless the request named one.
    exchange: str | None
    interval: Interval
    # Close time of the last closed candle.
    as_of: str
    # When the analysis was computed.
    computed_at: str
    # Close of the last closed candle.
    last_price: float
    # The last price that the exchange has reported: what distances and roles are measured from. Null if this process reads no prices between closes (`PRICES_EVERY`), if the last one is too old, or for the past; distances and roles are then from `last_price`.
    price: float | None
    # When that price was read or received; `as_of` if the last close is newer. Null with `price`.
    price_at: str | None
    # Mean true range of the last 100 candles (all if fewer), in price units.
    atr: float
    # The number of candles in the analysis.
    klines: int
    # Candles missing between the first and the last.
    missing_klines: int
    # Whether the next candle has closed and its analysis is overdue: one interval and a grace period after as_of. The grace period is a twentieth of the interval, at least two minutes, and at most one interval.
    stale: bool
    # The same as a sentence; null when fresh.
    stale_reason: str | None
    # When a sweep found that the exchange no longer lists the pair or does not trade it. Null while it does.
    delisted_at: str | None
    # Whether the candles come from a simulated exchange.
    simulated: bool
    # Names the rules for finding levels. It changes whenever equal candles would give different levels.
    algorithm: str
    # The horizon of the odds in candles.
    horizon_candles: int
    # Why probabilities are null; null if they are not.
    odds_reason: str | None
    # The edge, in points, from which levels are shown unasked (`LEVELS_MIN_EDGE`).
    min_edge: float
    # Levels at or below the price, from the nearest downwards.
    supports: list[Level]
    # Levels above the price, from the nearest upwards.
    resistances: list[Level]
    # Why there are no supports, in a sentence such as: no level with an edge of at least 3 points within 9 ATR below the price. Null if there are.
    supports_reason: str | None
    # Why there are no resistances, in a sentence such as: no level with an edge of at least 3 points within 9 ATR above the price; 2 levels have less. Null if there are.
    resistances_reason: str | None

# A price at which a market may turn, and the zone around it.
class Level(TypedDict):
    # Stable from run to run for the same level of the same exchange, symbol and interval.
    id: str
    # The representative price.
    price: float
    # Lower edge of the zone.
    low: float
    # Upper edge of the zone.
    high: float
    # How much more often than any line at its distance the level is expected to hold once touched, in points (hundredths of a probability). Levels are ranked, chosen and drawn by it. It depends on the level and its place, not on the moment, so `hold_probability` does not exceed `baseline_hold_probability` by exactly as much. For intervals without odds it is that of the nearest interval with odds. In an analysis by a version before edges it is the difference of both odds; 0 without odds.
    edge: float
    # Whether its edge is too small to be shown unasked: below `min_edge` of the analysis when the levels were last drawn, every eighth candle, or more than two points below it now.
    faint: bool
    # The share of levels that are expected to exceed the lines at their distance by less: a rank, not a probability.
    strength: float
    # Use `tests`. How often price entered the zone after having been outside.
    touches: int
    # Use `first_tested`. Open time of the candle that starts the first touch.
    first_touch: str | None
    # Use `last_tested`. Open time of the candle that starts the last touch.
    last_touch: str | None
    # Use `found_by`. The methods that found it.
    sources: list[Source]
    # From the price, in percent of it; negative below.
    distance_pct: float
    # From the price, in ATR; negative below. Null if the market did not move.
    distance_atr: float | None
    # Use `state`. What price last did to a level.
    status: Status
    # Whether price has passed it since `as_of`: its role was the other one then. The odds were those of that role, and are null; `state` and tests change only when a candle closes.
    passed: bool
    state: State
    # Tests that it held since it took its present role; positive exactly if `state` is `held`. Null if unknown.
    held_in_role: int | None
    # How often price tested it in these candles. A test is an approach to within a quarter of the ATR of that time, after price had left by an ATR of that time. Null if unknown.
    tests: int | None
    # Tests that it held: price was back by one ATR before it was through by one. The others are `broke`, or are undecided. This is history; the odds are in `hold_probability`. Null if unknown.
    held: int | None
    # Tests that broke it: price was through by one ATR before it was back by one. Null if unknown.
    broke: int | None
    # The outcomes of the last four decided tests, the newest first. Null if unknown.
    recent: list[Literal["held", "broke"]] | None
    # Open time of the candle that begins the first test; null without tests.
    first_tested: str | None
    # Open time of the candle that begins the last test; null without tests.
    last_tested: str | None
    # The methods that tell it from other prices. Empty for most levels: they are where candles turned and closed, as all are.
    found_by: list[Literal["poc", "volume"]]
    # The id of a level of an earlier analysis that it replaced, a quarter of an ATR away at most; null for none. `GET /levels/{symbol}/{id}` with the id of it, or of the two that it had replaced before, names this level.
    replaces: str | None
    # Odds that price touches the level within the horizon.
    touch_probability: float | None
    # Odds that the level holds, given that it is touched and decided.
    hold_probability: float | None
    # How well such odds are known, from and to: the 95 % interval of the hold rate, over years, of levels with about this hold probability. It is how far hold rates of later times and of pairs outside the fit deviated from such odds, in bootstrap samples of blocks of at least two horizons. In a single week, or on a single pair, hold rates deviate further.
    hold_interval: list[float] | None
    # The same odds for any line at this distance.
    baseline_hold_probability: float | None
    # The number of decided touches behind the odds.
    samples: int | None
    # The levels of the other intervals within 0.25 ATR of it, by the ATR of the shorter interval; empty if there is none. Only in answers with several intervals.
    confluence: NotRequired[list[LevelRef]]

# A level of another interval of the same pair.
class LevelRef(TypedDict):
    interval: Interval
    # Its id.
    id: str

# The levels of a pair on several intervals.
class PairOnIntervals(TypedDict):
    # The exchange's id of the pair.
    symbol: str
    exchange: Exchange
    # In the order of the request.
    intervals: list[Any]

# An interval without an analysis.
class MissingInterval(TypedDict):
    interval: Interval
    problem: Reason

# The levels of a pair on several exchanges.
class PairOnExchanges(TypedDict):
    # The canonical name: BASE/QUOTE, or BASE/QUOTE:SETTLE for a contract.
    name: str
    interval: Interval
    # In the order of the configuration; those without an analysis are left out.
    exchanges: list[PairOnExchange]

# The levels of a pair on one of several exchanges.
class PairOnExchange(TypedDict):
    # The exchange's id of the pair.
    symbol: str
    # Its exchange.
    exchange: str
    # Close time of the last closed candle.
    as_of: str
    # Close of the last closed candle.
    last_price: float
    # The last price that the exchange has reported: what distances and roles are measured from. Null if this process reads no prices between closes (`PRICES_EVERY`), if the last one is too old, or for the past; distances and roles are then from `last_price`.
    price: float | None
    # When that price was read or received; `as_of` if the last close is newer. Null with `price`.
    price_at: str | None
    # Mean true range of the last 100 candles (all if fewer), in price units.
    atr: float
    # Whether a newer analysis is overdue.
    stale: bool
    # Whether the candles come from a simulated exchange.
    simulated: bool
    # Levels at or below the price, from the nearest downwards.
    supports: list[SharedLevel]
    # Levels above the price, from the nearest upwards.
    resistances: list[SharedLevel]
    # Why there are no supports, in a sentence such as: no level with an edge of at least 3 points within 9 ATR below the price. Null if there are.
    supports_reason: str | None
    # Why there are no resistances, in a sentence such as: no level with an edge of at least 3 points within 9 ATR above the price; 2 levels have less. Null if there are.
    resistances_reason: str | None

# A level and the number of exchanges that have it.
class SharedLevel(TypedDict):
    # Stable from run to run for the same level of the same exchange, symbol and interval.
    id: str
    # The representative price.
    price: float
    # Lower edge of the zone.
    low: float
    # Upper edge of the zone.
    high: float
    # How much more often than any line at its distance the level is expected to hold once touched, in points (hundredths of a probability). Levels are ranked, chosen and drawn by it. It depends on the level and its place, not on the moment, so `hold_probability` does not exceed `baseline_hold_probability` by exactly as much. For intervals without odds it is that of the nearest interval with odds. In an analysis by a version before edges it is the difference of both odds; 0 without odds.
    edge: float
    # Whether its edge is too small to be shown unasked: below `min_edge` of the analysis when the levels were last drawn, every eighth candle, or more than two points below it now.
    faint: bool
    # The share of levels that are expected to exceed the lines at their distance by less: a rank, not a probability.
    strength: float
    # Use `tests`. How often price entered the zone after having been outside.
    touches: int
    # Use `first_tested`. Open time of the candle that starts the first touch.
    first_touch: str | None
    # Use `last_tested`. Open time of the candle that starts the last touch.
    last_touch: str | None
    # Use `found_by`. The methods that found it.
    sources: list[Source]
    # From the price, in percent of it; negative below.
    distance_pct: float
    # From the price, in ATR; negative below. Null if the market did not move.
    distance_atr: float | None
    # Use `state`. What price last did to a level.
    status: Status
    # Whether price has passed it since `as_of`: its role was the other one then. The odds were those of that role, and are null; `state` and tests change only when a candle closes.
    passed: bool
    state: State
    # Tests that it held since it took its present role; positive exactly if `state` is `held`. Null if unknown.
    held_in_role: int | None
    # How often price tested it in these candles. A test is an approach to within a quarter of the ATR of that time, after price had left by an ATR of that time. Null if unknown.
    tests: int | None
    # Tests that it held: price was back by one ATR before it was through by one. The others are `broke`, or are undecided. This is history; the odds are in `hold_probability`. Null if unknown.
    held: int | None
    # Tests that broke it: price was through by one ATR before it was back by one. Null if unknown.
    broke: int | None
    # The outcomes of the last four decided tests, the newest first. Null if unknown.
    recent: list[Literal["held", "broke"]] | None
    # Open time of the candle that begins the first test; null without tests.
    first_tested: str | None
    # Open time of the candle that begins the last test; null without tests.
    last_tested: str | None
    # The methods that tell it from other prices. Empty for most levels: they are where candles turned and closed, as all are.
    found_by: list[Literal["poc", "volume"]]
    # The id of a level of an earlier analysis that it replaced, a quarter of an ATR away at most; null for none. `GET /levels/{symbol}/{id}` with the id of it, or of the two that it had replaced before, names this level.
    replaces: str | None
    # Odds that price touches the level within the horizon.
    touch_probability: float | None
    # Odds that the level holds, given that it is touched and decided.
    hold_probability: float | None
    # How well such odds are known, from and to: the 95 % interval of the hold rate, over years, of levels with about this hold probability. It is how far hold rates of later times and of pairs outside the fit deviated from such odds, in bootstrap samples of blocks of at least two horizons. In a single week, or on a single pair, hold rates deviate further.
    hold_interval: list[float] | None
    # The same odds for any line at this distance.
    baseline_hold_probability: float | None
    # The number of decided touches behind the odds.
    samples: int | None
    # The number of exchanges in the reply with a level within 0.25 ATR on the same side, its own included. Simulated and real exchanges do not count for each other, and stale analyses not for those that are not.
    venues: int

# Why a level is there, as of the close of the last candle of its analysis.
class Explanation(TypedDict):
    # The pair.
    symbol: str
    # The canonical name: BASE/QUOTE, or BASE/QUOTE:SETTLE for a contract. Null if it is not known, which it is once a sweep of the exchange has been planned.
    name: str | None
    # Its exchange.
    exchange: str
    interval: Interval
    # Close time of the last closed candle of its analysis.
    as_of: str
    # Whether the candles come from a simulated exchange.
    simulated: bool
    # Whether the next candle has closed and its analysis is overdue: one interval and a grace period after as_of. The grace period is a twentieth of the interval, at least two minutes, and at most one interval.
    stale: bool
    # The same as a sentence; null when fresh.
    stale_reason: str | None
    role: Role
    level: Level
    # The tests that `level.tests` counts, oldest first.
    tests: list[Test]
    # Use `tests`. The touches that `level.touches` counts, oldest first.
    touches: list[Touch]
    # One for each of `level.sources`, in their order: all that is in the zone. `level.found_by` has only those that random prices have less often.
    sources: list[Finding]
    # Why factors are null; null if they are not.
    odds_reason: str | None
    # The factors of the hold odds, greatest effect first. Null if the level has no odds.
    factors: list[Factor] | None
    # How often price entered the zone, which is the factor `touches`, and why that is not the number of `tests`.
    entries_note: str
    # In a sentence, which of the `sources` are in `level.found_by`, and why the others are not.
    found_by_note: str
    # In a sentence, how both can be true if the level has an edge but held less often than any line, or odds of holding no better than those of any line. Null if neither is so.
    record_note: str | None

# An approach of price to a level, and what came of it.
Test = TypedDict("Test", {
    # Open time of the candle that reached the touch line, a quarter of the ATR of that time before the level.
    "from": "str",
    # Close time of the candle that settled it, or of the last one.
    "to": "str",
    # Where price came from.
    "side": "Literal[\"above\", \"below\"]",
    # Whether price was back by one ATR (at that time) from the touch line before it was through by one.
    "outcome": "Literal[\"held\", \"broke\", \"undecided\", \"pending\"]",
    # The price farthest from the side it came from.
    "extreme": "float",
})

# Consecutive candles that meet the zone.
Touch = TypedDict("Touch", {
    # Open time of the first of them.
    "from": "str",
    # Close time of the last of them.
    "to": "str",
    # Where price came from: the side of the previous close.
    "side": "Literal[\"above\", \"below\"]",
    # The outcome: whether price was back by one ATR (at that time) from the edge of the zone that it reached, before it was through by one. The touch at the swing that formed the level held in most cases (135 of 143 measured), because a swing is where price turned: it says little about the next one.
    "outcome": "Literal[\"held\", \"broke\", \"undecided\", \"pending\"]",
    # The price farthest from the side it came from.
    "extreme": "float",
    # The number of candles.
    "candles": "int",
})

# What one method found in the zone.
class Finding(TypedDict):
    name: Source
    # Its share in the place of the zone. The point of control has none; its weight is counted as a volume node.
    weight: float
    # The number of findings; for ends: highs, lows and closes of candles.
    count: int
    # The findings, by price. Empty for ends.
    found: list[Mark]

# One finding of a method.
class Mark(TypedDict):
    # The kind of finding.
    kind: Literal["swing_high", "swing_low", "poc", "value_area_edge", "volume_node"]
    # Its price.
    price: float
    # Open time of the candle of a swing; null for volume.
    time: str | None
    # How far price moved away from a swing on either side, in ATR; null for volume.
    prominence_atr: float | None
    # Volume at the price as a share of that at the busiest price; null for a swing.
    volume_share: float | None

# One reason for the hold odds.
class Factor(TypedDict):
    # The name of the factor.
    name: Literal["distance", "range_short", "range_middle", "range_long", "age", "touches", "stay", "prominence", "swings_same", "swings_other", "volume", "contrast", "trend", "zones", "bounds"]
    # The value for this level.
    value: float
    # The unit of the value.
    unit: str
    # The change of the hold probability, in points (hundredths).
    effect: float
    # The value in an English sentence.
    text: str

# Prices that every trader sees, as of the close of the last candle of an analysis. They are no levels and have no odds.
class PriceMarks(TypedDict):
    # The pair.
    symbol: str
    # The canonical name: BASE/QUOTE, or BASE/QUOTE:SETTLE for a contract. Null if it is not known, which it is once a sweep of the exchange has been planned.
    name: str | None
    # Its exchange.
    exchange: str
    interval: Interval
    # Close time of the last closed candle of its analysis.
    as_of: str
    # Close of that candle.
    last_price: float
    # Mean true range, in price units.
    atr: float
    # Whether the next candle has closed and its analysis is overdue.
    stale: bool
    # The same as a sentence; null when fresh.
    stale_reason: str | None
    # Whether the candles come from a simulated exchange.
    simulated: bool
    # The marks, by price.
    marks: list[PriceMark]
    # What became of each kind on 1h candles of many pairs.
    records: list[MarkRecord]

# A price that every trader sees.
class PriceMark(TypedDict):
    # Its kind.
    kind: Literal["day_high", "day_low", "day_close", "day_open", "week_high", "week_low", "week_close", "week_open", "month_high", "month_low", "month_open", "equal_highs", "equal_lows", "round"]
    # The mark in plain English.
    label: str
    # Its price.
    price: float
    # Open time of the candle with the high, the low or the last top, or the time of the open or close; null for a round number.
    time: str | None
    # From the last close, in percent of it; negative below.
    distance_pct: float
    # From the last close, in ATR; negative below.
    distance_atr: float

# What became of marks of a kind within 168 candles.
class MarkRecord(TypedDict):
    # The kind.
    kind: Literal["day_high", "day_low", "day_close", "day_open", "week_high", "week_low", "week_close", "week_open", "month_high", "month_low", "month_open", "equal_highs", "equal_lows", "round"]
    # Marks that held.
    held: int
    # Marks that were touched and held or broke.
    decided: int
    # The share that held of lines at the same moments and on the same sides, moved from the marks at random by up to two ATR.
    line_hold_rate: float

# A page of levels.
class LevelPage(TypedDict):
    # The exchange of all rows; `all` for several.
    exchange: str
    interval: Interval
    # Why the probabilities of this interval are null; null if they are not. If only one row has none, its pair is too young, or was analysed by a version without odds; `GET /levels/{symbol}` says which.
    odds_reason: str | None
    levels: list[LevelRow]
    # Pairs skipped because their stored analyses cannot be read; the next analysis of each replaces it.
    unreadable: int
    # The cursor of the next page; null on the last one.
    next: str | None

# A level with fields of its analysis, as a flat row.
class LevelRow(TypedDict):
    # The pair.
    symbol: str
    # The canonical name: BASE/QUOTE, or BASE/QUOTE:SETTLE for a contract. Null if it is not known, which it is once a sweep of the exchange has been planned.
    name: str | None
    # Its exchange.
    exchange: str
    interval: Interval
    # Close time of the last closed candle of its analysis.
    as_of: str
    # Close of that candle.
    last_price: float
    # The last price that the exchange has reported: what distances and roles are measured from. Null if this process reads no prices between closes (`PRICES_EVERY`), if the last one is too old, or for the past; distances and roles are then from `last_price`.
    market_price: float | None
    # When that price was read or received; `as_of` if the last close is newer. Null with `market_price`.
    market_price_at: str | None
    # Mean true range, in price units.
    atr: float
    # Whether the next candle has closed and its analysis is overdue.
    stale: bool
    # Whether the candles come from a simulated exchange.
    simulated: bool
    role: Role
    # Stable from run to run for the same level of the same exchange, symbol and interval.
    id: str
    # The representative price.
    price: float
    # Lower edge of the zone.
    low: float
    # Upper edge of the zone.
    high: float
    # How much more often than any line at its distance the level is expected to hold once touched, in points (hundredths of a probability). Levels are ranked, chosen and drawn by it. It depends on the level and its place, not on the moment, so `hold_probability` does not exceed `baseline_hold_probability` by exactly as much. For intervals without odds it is that of the nearest interval with odds. In an analysis by a version before edges it is the difference of both odds; 0 without odds.
    edge: float
    # Whether its edge is too small to be shown unasked: below `min_edge` of the analysis when the levels were last drawn, every eighth candle, or more than two points below it now.
    faint: bool
    # The share of levels that are expected to exceed the lines at their distance by less: a rank, not a probability.
    strength: float
    # Use `tests`. How often price entered the zone after having been outside.
    touches: int
    # Use `first_tested`. Open time of the candle that starts the first touch.
    first_touch: str | None
    # Use `last_tested`. Open time of the candle that starts the last touch.
    last_touch: str | None
    # Use `found_by`. The methods that found it.
    sources: list[Source]
    # From the price, in percent of it; negative below.
    distance_pct: float
    # From the price, in ATR; negative below. Null if the market did not move.
    distance_atr: float | None
    # Use `state`. What price last did to a level.
    status: Status
    # Whether price has passed it since `as_of`: its role was the other one then. The odds were those of that role, and are null; `state` and tests change only when a candle closes.
    passed: bool
    state: State
    # Tests that it held since it took its present role; positive exactly if `state` is `held`. Null if unknown.
    held_in_role: int | None
    # How often price tested it in these candles. A test is an approach to within a quarter of the ATR of that time, after price had left by an ATR of that time. Null if unknown.
    tests: int | None
    # Tests that it held: price was back by one ATR before it was through by one. The others are `broke`, or are undecided. This is history; the odds are in `hold_probability`. Null if unknown.
    held: int | None
    # Tests that broke it: price was through by one ATR before it was back by one. Null if unknown.
    broke: int | None
    # The outcomes of the last four decided tests, the newest first. Null if unknown.
    recent: list[Literal["held", "broke"]] | None
    # Open time of the candle that begins the first test; null without tests.
    first_tested: str | None
    # Open time of the candle that begins the last test; null without tests.
    last_tested: str | None
    # The methods that tell it from other prices. Empty for most levels: they are where candles turned and closed, as all are.
    found_by: list[Literal["poc", "volume"]]
    # The id of a level of an earlier analysis that it replaced, a quarter of an ATR away at most; null for none. `GET /levels/{symbol}/{id}` with the id of it, or of the two that it had replaced before, names this level.
    replaces: str | None
    # Odds that price touches the level within the horizon.
    touch_probability: float | None
    # Odds that the level holds, given that it is touched and decided.
    hold_probability: float | None
    # How well such odds are known, from and to: the 95 % interval of the hold rate, over years, of levels with about this hold probability. It is how far hold rates of later times and of pairs outside the fit deviated from such odds, in bootstrap samples of blocks of at least two horizons. In a single week, or on a single pair, hold rates deviate further.
    hold_interval: list[float] | None
    # The same odds for any line at this distance.
    baseline_hold_probability: float | None
    # The number of decided touches behind the odds.
    samples: int | None
    # The levels of the other intervals within 0.25 ATR of it, by the ATR of the shorter interval; empty if there is none. Only in answers with several intervals.
    confluence: NotRequired[list[LevelRef]]

# Requested work and its progress.
class JobSummary(TypedDict):
    # The job's id.
    id: str
    # `sweep` is a whole market, `analysis` named symbols or klines.
    kind: Literal["sweep", "analysis"]
    # The last three are final. `completed` means that every symbol has an outcome.
    state: Literal["queued", "running", "completed", "failed", "cancelled"]
    # Null for your own klines.
    exchange: str | None
    interval: Interval
    # The number of candles in each analysis.
    kline_limit: int
    # The number of symbols of the job; 0 until a sweep has listed them.
    symbols_total: int
    # Symbols analysed.
    symbols_done: int
    # Symbols that could not be analysed.
    symbols_failed: int
    # Symbols that the filter removed.
    symbols_skipped: int
    # The number of batches, each stored in one transaction.
    batches_total: int
    # Batches stored.
    batches_done: int
    # Whether the analyses are stored.
    store: bool
    # Whether the candles come from a simulated exchange.
    simulated: bool
    created_at: str
    started_at: str | None
    finished_at: str | None
    # Why a failed job failed.
    error: Reason | None

# Requested work, its progress and its result.
class Job(TypedDict):
    # The job's id.
    id: str
    # `sweep` is a whole market, `analysis` named symbols or klines.
    kind: Literal["sweep", "analysis"]
    # The last three are final. `completed` means that every symbol has an outcome.
    state: Literal["queued", "running", "completed", "failed", "cancelled"]
    # Null for your own klines.
    exchange: str | None
    interval: Interval
    # The number of candles in each analysis.
    kline_limit: int
    # The number of symbols of the job; 0 until a sweep has listed them.
    symbols_total: int
    # Symbols analysed.
    symbols_done: int
    # Symbols that could not be analysed.
    symbols_failed: int
    # Symbols that the filter removed.
    symbols_skipped: int
    # The number of batches, each stored in one transaction.
    batches_total: int
    # Batches stored.
    batches_done: int
    # Whether the analyses are stored.
    store: bool
    # Whether the candles come from a simulated exchange.
    simulated: bool
    created_at: str
    started_at: str | None
    finished_at: str | None
    # Why a failed job failed.
    error: Reason | None
    # One for each failed symbol.
    failures: list[Outcome]
    # One for each pair that a rule of the filter removed, with the reason. Pairs that do not trade, or with other quote assets, are not part of the market.
    skips: list[Outcome]
    # The analysis of a job with `store` false, or of a job without a symbol to store it under.
    result: Analysis | None

# A page of events.
class EventPage(TypedDict):
    # In the order of `seq`.
    events: list[Event]
    # The `since` of the next page: the number of the last event, or of the last one that the filter has passed over.
    next: int
    # Whether there are more events now.
    more: bool
    # Whether events after `since` may have been deleted, because they were too old: the event with that number has been.
    missed: bool

# Something that happened to a level.
class Event(TypedDict):
    # Its place in the order of all events. It grows, with holes.
    seq: int
    # Made of what happened: the same wherever and whenever it is found.
    id: str
    kind: EventKind
    # The exchange.
    exchange: str
    # The pair.
    symbol: str
    # The canonical name of the pair; null if it is not known.
    name: str | None
    interval: Interval
    # Whether the prices are invented.
    simulated: bool
    # When it happened: the close of `candle`, or the time of the price.
    occurred_at: str
    # When the service found it.
    emitted_at: str
    # From `occurred_at` to `emitted_at`.
    late_ms: int
    # Close of the last candle that was known.
    as_of: str
    # From `as_of` to `emitted_at`.
    data_age_ms: int
    # The last price when it happened.
    price: float
    # The closed candle that decided; null if a price between closes did.
    candle: EventCandle | None
    # The average true range at `begun`, in price units.
    atr: float
    # From the level to `price`, in ATR; negative if price is below. Null if the market did not move.
    distance_atr: float | None
    # The close at which the episode began. Its level, ATR and odds count until the episode ends.
    begun: str
    # When it was touched, of `held`, `broke` and `flipped`; otherwise null.
    touched_at: str | None
    # The odds when it was touched, of `held`, `broke` and `flipped`. Otherwise null, and without odds.
    promise: EventPromise | None
    level: EventLevel
    # Of `appeared`: the id of the level that it replaces; null for none.
    replaces: str | None
    # Of `vanished`: the id of the level that replaces it; null for none.
    replaced_by: str | None
    links: EventLinks

# A closed candle.
class EventCandle(TypedDict):
    # When it opened.
    open_time: str
    # First price.
    open: float
    # Highest price.
    high: float
    # Lowest price.
    low: float
    # Last price.
    close: float
    # In the base asset.
    volume: float

# A level as it was when something happened to it. Its fields are those of Level.
class EventLevel(TypedDict):
    # Its id.
    id: str
    role: Role
    # The representative price.
    price: float
    # Lower edge of the zone.
    low: float
    # Upper edge of the zone.
    high: float
    # How much more often than any line at its distance it is expected to hold once touched, in points.
    edge: float
    state: State
    # How often price tested it.
    tests: int
    # Tests that it held.
    held: int
    # Odds that price touches it within the horizon.
    touch_probability: float | None
    # Odds that it holds, given that it is touched and decided.
    hold_probability: float | None
    # How well such odds are known, from and to.
    hold_interval: list[float] | None
    # The same odds for any line at this distance.
    baseline_hold_probability: float | None
    # The number of decided touches behind the odds.
    samples: int | None

# What the odds of a level said when it was touched.
class EventPromise(TypedDict):
    # Odds that it holds.
    hold_probability: float
    # How well such odds are known, from and to.
    hold_interval: list[float]
    # The same odds for any line at this distance.
    baseline_hold_probability: float
    # In points.
    edge: float
    # The number of decided touches behind the odds.
    samples: int

# Paths of this API.
class EventLinks(TypedDict):
    # The levels of the pair.
    levels: str
    # Why the level is there.
    explanation: str
    # A picture of the levels.
    chart: str

CalibrationIntervalsFittedOn = TypedDict("CalibrationIntervalsFittedOn", {
    # First open time.
    "from": "str",
    # Last close time.
    "to": "str",
    "pairs": "int",
    "candles": "int",
    # File names.
    "files": "list[str]",
    # The hash of names and contents of all files.
    "sha256": "str",
})

class CalibrationIntervalsOutOfSampleHold(TypedDict):
    # Against the base rate.
    brier_skill: float
    # Expected calibration error over the bins.
    calibration_error: float
    bins: Bins

class CalibrationIntervalsOutOfSampleTouch(TypedDict):
    # Brier skill minus that of the reflection principle on the same levels.
    brier_skill_above_reflection: float
    # Expected calibration error over the bins.
    calibration_error: float
    bins: Bins

class CalibrationIntervalsOutOfSample(TypedDict):
    # The data of the fits.
    learnt_from: str
    levels: int
    # Hold rate minus that of lines at the distances of all levels.
    lift: Points
    # Hold rate minus that of lines at about the same distance.
    neighbour_lift: Points
    # Hold rate of the strongest third minus that of the weakest.
    strength_terciles: Points
    hold: CalibrationIntervalsOutOfSampleHold
    touch: CalibrationIntervalsOutOfSampleTouch

class CalibrationIntervalsLive(TypedDict):
    # Analyses whose horizon has not passed or that are not judged yet.
    waiting: int
    # When the horizon of the oldest of them passes; null if none waits.
    next_due: str | None
    # Why there is no current scorecard; null if there is one.
    reason: str | None
    # The current one first.
    scorecards: list[Scorecard]

class CalibrationIntervals(TypedDict):
    interval: Interval
    # Why levels of this interval have no odds; null if they have odds.
    reason: str | None
    fitted_on: None | CalibrationIntervalsFittedOn
    # Results of fits made like this one, each on unseen pairs and times; one entry for each way of separating times. Levels are the best three a side by strength, 0.5 to 12 ATR away.
    out_of_sample: list[CalibrationIntervalsOutOfSample]
    live: CalibrationIntervalsLive
    # What became of touched levels while this service watched them; empty before the first outcome.
    record: list[RecordRow]

class Calibration(TypedDict):
    exchange: Exchange
    # Whether its market is currently simulated.
    simulated: bool
    # The algorithm of this version.
    algorithm: str
    # The name of the table of odds of this version; it changes with every fit.
    table: str
    # The command that made the table from the listed files.
    command: str
    # The horizon of outcomes in candles.
    horizon_candles: int
    # Shortest first.
    intervals: list[CalibrationIntervals]

class RecordRow(TypedDict):
    # Whether the market is simulated.
    simulated: bool
    role: Literal["support", "resistance"]
    # In a retest price comes back from the side to which it had passed the level.
    kind: Literal["test", "retest"]
    # Begin of the day, or block of days, of the first touch.
    since: str
    # Touched levels that held or broke.
    decided: int
    # Decided levels that held.
    held: int
    hold_rate: float
    hold_interval: RecordInterval
    # Decided levels that had odds when they were touched.
    with_odds: int
    # Mean of these odds; null without any.
    promised: float | None
    # Share of the levels with odds that held.
    realised: float | None
    # Mean hold rate of any line at the distance of these levels.
    baseline: float | None
    # The same by hour of the touch; hours without outcomes are omitted.
    hours: list[RecordHour]

# The 95 % interval from the spread between blocks of days; null if there are too few outcomes or days.
RecordInterval: TypeAlias = list[float] | None

class RecordHour(TypedDict):
    # Hour of the day (UTC) of the touch; on intervals longer than an hour, the last hour of the candle.
    hour: int
    decided: int
    held: int
    hold_rate: float
    hold_interval: RecordInterval
    with_odds: int
    promised: float | None
    realised: float | None
    baseline: float | None

class Points(TypedDict):
    # Hundredths of probability.
    points: float
    # The 95 % interval, from bootstrap samples of calendar weeks.
    interval: list[float]

class BinsItem(TypedDict):
    # Mean of the odds.
    promised: float
    # Share that happened.
    realised: float
    samples: int

# By rising odds; empty bins are omitted.
Bins: TypeAlias = list[BinsItem]

class Scorecard(TypedDict):
    # Whether it belongs to the odds that this version serves in its market.
    current: bool
    algorithm: str
    table: str
    # Whether the market is simulated.
    simulated: bool
    # Time of the first judged analysis.
    since: str
    # Time of the last judged analysis.
    until: str
    # Judged analyses.
    moments: int
    # Analyses that could not be judged, because candles of their horizon are missing.
    skipped: int
    # Judged levels.
    levels: int
    # Levels touched.
    touched: int
    # Touched levels that held or broke.
    decided: int
    # Decided levels that held.
    held: int
    # Of the decided levels.
    hold: LiveScore
    # Of all judged levels.
    touch: LiveScore

class LiveScore(TypedDict):
    # Mean of the odds.
    promised: float | None
    # Share that happened.
    realised: float | None
    # Mean squared difference between odds and outcome, 1 or 0.
    brier_score: float | None
    # Against the share that happened.
    brier_skill: float | None
    # Expected calibration error over the bins.
    calibration_error: float | None
    # Why one of these is null.
    reason: str | None
    bins: Bins

class MemoryLastBatch(TypedDict):
    # Pairs of the batch.
    symbols: int
    # Failed pairs.
    symbols_failed: int
    # From its first request to its commit.
    seconds: float
    # The greatest resident set after one of its pairs.
    peak_rss_bytes: int
    # When it was stored.
    ended_at: str

# A value is null if the operating system does not report it, or if it is not set.
class Memory(TypedDict):
    # Of the cgroup, this process and all others in it, minus its inactive page cache. Null for the root cgroup, which is the whole machine.
    working_set_bytes: int | None
    # The resident set.
    rss_bytes: int | None
    # The part of it that is pages of files, which the kernel can reclaim.
    files_bytes: int | None
    # The peak of the resident set.
    peak_rss_bytes: int | None
    # Objects on Go's heap, including those not yet collected.
    heap_bytes: int
    # The limit of the cgroup.
    limit_bytes: int | None
    # The memory budget of the process, from `MEMORY_BUDGET` or the cgroup.
    budget_bytes: int | None
    # Goroutines of the process.
    goroutines: int
    # The last batch this process stored; null if it stored none.
    last_batch: MemoryLastBatch | None

# A scheduled sweep of all pairs, shortly after candles close.
class Schedule(TypedDict):
    # The exchange swept.
    exchange: str
    interval: Interval
    # As configured: a duration, or five cron fields in UTC.
    schedule: str
    # When the next sweep starts, by the exchange's clock. A time in the past means that it is due, and starts as soon as a worker is running.
    next_run: str
    # When the last one started; null before the first.
    last_run: str | None
    # The job of the last run. It may have been deleted (`JOB_RETENTION`).
    last_job: str | None

class Reason(TypedDict):
    # For programs.
    code: str
    # One sentence for people.
    detail: str

# Why a symbol was not analysed.
class Outcome(TypedDict):
    # The pair.
    symbol: str
    # For programs.
    code: str
    # One sentence for people.
    detail: str

# Which events are sent to which receivers. An empty list does not restrict.
class RuleSettings(TypedDict):
    # Unique among rules.
    name: str
    # Names of receivers.
    receivers: list[str]
    # Names of exchanges.
    exchanges: NotRequired[list[str]]
    # Ids of an exchange (BTCUSDT), names (BTC/USDT), patterns of either (*/USDT), and watchlists (@majors).
    pairs: NotRequired[list[str]]
    # Lengths of candles.
    intervals: NotRequired[list[str]]
    # Kinds of events: appeared, approaching, touched, held, broke, flipped, vanished.
    kinds: NotRequired[list[str]]
    # support, resistance.
    roles: NotRequired[list[str]]
    # Least edge of the level, in points.
    min_edge: NotRequired[float]
    # Least volume of 24 hours, in the quote asset.
    min_quote_volume: NotRequired[float]
    # Hours without messages; null for none.
    quiet: NotRequired[Quiet | None]
    # The end of the rule; null for none.
    until: NotRequired[str | None]
    # Nothing is sent by it.
    paused: NotRequired[bool]
    # How long the message about a close waits for more events of it.
    group_wait_ms: NotRequired[int]
    # Events that a message shows, by edge; it counts the others.
    top: NotRequired[int]
    # Leave out events of levels in the zone of a level of a longer interval to which the same happened.
    inhibit: NotRequired[bool]

Quiet = TypedDict("Quiet", {
    # Start, such as 22:00.
    "from": "str",
    # End; before `from`, of the next day.
    "to": "str",
    # Of the IANA time zone database, such as Europe/Paris.
    "zone": "str",
    # Days of the start: mon, tue, wed, thu, fri, sat, sun; empty for every day.
    "days": "list[str]",
    # `drop` the events, or `hold` them for one message at the end.
    "then": "str",
})

# A rule as it is stored.
class Rule(TypedDict):
    # Of the rule.
    id: str
    # Unique among rules.
    name: str
    # As in RuleSettings.
    receivers: list[str]
    # As in RuleSettings.
    exchanges: list[str]
    # As in RuleSettings.
    pairs: list[str]
    # As in RuleSettings.
    intervals: list[str]
    # As in RuleSettings.
    kinds: list[str]
    # As in RuleSettings.
    roles: list[str]
    # As in RuleSettings.
    min_edge: float
    # As in RuleSettings.
    min_quote_volume: float
    # As in RuleSettings.
    quiet: Quiet | None
    # As in RuleSettings.
    until: str | None
    # As in RuleSettings.
    paused: bool
    # As in RuleSettings.
    group_wait_ms: int
    # As in RuleSettings.
    top: int
    # As in RuleSettings.
    inhibit: bool
    # It is of `RULES_FILE`, and can only be changed there.
    from_file: bool
    # When it was created.
    created_at: str
    # When it was last changed.
    updated_at: str

class RuleList(TypedDict):
    # By name.
    rules: list[Rule]

# What a rule would have sent in the last days.
Preview = TypedDict("Preview", {
    # Start of the period.
    "from": "str",
    # Close of the newest candle.
    "to": "str",
    # Of the request.
    "days": "int",
    # How many candles apart the levels of a pair are found again.
    "redrawn_every": "int",
    # Pairs on an interval whose candles are used.
    "series": "int",
    # Of these, those with too few stored candles for the whole period.
    "short": "int",
    # Series with too few candles for any of it.
    "left_out": "int",
    # Some prices are invented.
    "simulated": "bool",
    # That the rule selects.
    "events": "int",
    "by_kind": "KindCounts",
    # That these are grouped into.
    "messages": "int",
    # All days of the period, oldest first.
    "by_day": "list[PreviewDay]",
    # The hour with most events; null without events.
    "busiest_hour": "BusiestHour | None",
    # At most 50, the newest first.
    "last": "list[PreviewEvent]",
    "outcomes": "PreviewOutcomes",
    "control": "PreviewControl",
    # How a preview differs from a running service, in sentences.
    "notes": "list[str]",
})

# Events by kind.
class KindCounts(TypedDict):
    # Events of the kind.
    appeared: int
    # Events of the kind.
    approaching: int
    # Events of the kind.
    touched: int
    # Events of the kind.
    held: int
    # Events of the kind.
    broke: int
    # Events of the kind.
    flipped: int
    # Events of the kind.
    vanished: int

# A day (UTC).
class PreviewDay(TypedDict):
    # Such as 2026-11-28.
    day: str
    # That the rule selects.
    events: int
    # That these are grouped into.
    messages: int

BusiestHour = TypedDict("BusiestHour", {
    # Its start.
    "from": "str",
    # That the rule selects.
    "events": "int",
    # That these are grouped into.
    "messages": "int",
})

# An event in brief.
class PreviewEvent(TypedDict):
    # Close of the candle.
    occurred_at: str
    # As in Event.
    kind: str
    # The exchange.
    exchange: str
    # The pair.
    symbol: str
    # Its canonical name; null if it is not known.
    name: str | None
    # Length of the candles.
    interval: str
    # The id of the level.
    level: str
    # support, resistance.
    role: str
    # Of the level.
    price: float
    # Of the level.
    edge: float

# What became of the levels of the rule that were touched, whether it rings at the touch or not.
class PreviewOutcomes(TypedDict):
    # All of them.
    touched: int
    # Without `flipped`.
    held: int
    # Held in the role into which price had passed them.
    flipped: int
    # Broke.
    broke: int
    # Neither within the horizon.
    undecided: int
    # Not decided yet.
    pending: int
    # Share of the decided ones that held or flipped; null without any.
    hold_rate: float | None
    # 95 %, over blocks of days; null if there are too few.
    hold_interval: list[float] | None
    # Mean of the hold odds of the decided ones with odds; null without any.
    promised: float | None
    # Mean of the hold rates of any line at their distance; null without any.
    baseline: float | None
    # Decided ones with odds.
    odds: int

# A comparison of levels of the rule with lines at prices without meaning: on the same sides, at the same moments, at the distances of all these levels, judged on the same candles.
class PreviewControl(TypedDict):
    # Decided ones.
    levels: int
    # Of the levels; null without any.
    hold_rate: float | None
    # Of the lines; null without any.
    line_hold_rate: float | None
    # `hold_rate` minus `line_hold_rate`, in points; null without any.
    lift: float | None
    # 95 %, over blocks of days; null if there are too few.
    lift_interval: list[float] | None
    # better, no_difference, worse, too_few.
    verdict: str
    # The verdict in a sentence.
    text: str

# Which events are sent to nobody until a time. An empty list does not restrict; one must not be empty.
class SilenceSettings(TypedDict):
    # Names of exchanges.
    exchanges: NotRequired[list[str]]
    # As in RuleSettings.
    pairs: NotRequired[list[str]]
    # Lengths of candles.
    intervals: NotRequired[list[str]]
    # Kinds of events.
    kinds: NotRequired[list[str]]
    # Its end.
    until: str
    # Why.
    comment: NotRequired[str]

# A silence as it is stored.
class Silence(TypedDict):
    # Of the silence.
    id: str
    # As in SilenceSettings.
    exchanges: list[str]
    # As in SilenceSettings.
    pairs: list[str]
    # As in SilenceSettings.
    intervals: list[str]
    # As in SilenceSettings.
    kinds: list[str]
    # Its end.
    until: str
    # Why.
    comment: str
    # It is of `RULES_FILE`, and can only be changed there.
    from_file: bool
    # When it was created.
    created_at: str
    # When it was last changed.
    updated_at: str

class SilenceList(TypedDict):
    # The next to end first.
    silences: list[Silence]

# Pairs under a name.
class WatchlistSettings(TypedDict):
    # Unique among watchlists.
    name: str
    # As in RuleSettings, without watchlists.
    pairs: list[str]

# A watchlist as it is stored.
class Watchlist(TypedDict):
    # Of the watchlist.
    id: str
    # Unique among watchlists.
    name: str
    # As in WatchlistSettings.
    pairs: list[str]
    # It is of `RULES_FILE`, and can only be changed there.
    from_file: bool
    # When it was created.
    created_at: str
    # When it was last changed.
    updated_at: str

class WatchlistList(TypedDict):
    # By name.
    watchlists: list[Watchlist]

# Where messages go.
class ReceiverSettings(TypedDict):
    # Unique among receivers.
    name: str
    # webhook, telegram, discord, slack, ntfy, matrix, email.
    kind: str
    # Depends on the kind, see docs/alerts.md; required for a new receiver and for another kind.
    config: NotRequired[dict[str, Any] | None]
    # Most messages a minute. What exceeds them is summarised in one message at the end of the minute.
    per_minute: NotRequired[int]
    # Name of the receiver that is told if this one is disabled; empty for none.
    notices_to: NotRequired[str]

# A receiver as it is stored.
class Receiver(TypedDict):
    # Of the receiver.
    id: str
    # Unique among receivers.
    name: str
    # As in ReceiverSettings.
    kind: str
    # Of the configuration, without secrets.
    shown: dict[str, Any]
    # As in ReceiverSettings.
    per_minute: int
    # As in ReceiverSettings.
    notices_to: str
    # new, ok, failing, disabled.
    state: str
    # The first failure after the last success; null if there is none.
    failing_since: str | None
    # When it was disabled; null if it is not.
    disabled_at: str | None
    # One sentence; null if it is not disabled.
    disabled_why: str | None
    # The last message that it accepted; null if there is none.
    last_success_at: str | None
    # It is of `RULES_FILE`, and can only be changed there.
    from_file: bool
    # When it was created.
    created_at: str
    # When it was last changed.
    updated_at: str

class ReceiverList(TypedDict):
    # By name.
    receivers: list[Receiver]

# Another secret or key of a webhook.
class RotateRequest(TypedDict):
    # v1 is the secret (HMAC), v1a the key (ed25519).
    signature: NotRequired[Literal["v1", "v1a"]]
    # A secret of your own, whsec_… or whsk_…; empty to have the service make one.
    secret: NotRequired[str]
    # For how long the one before signs too.
    overlap_hours: NotRequired[float]

# A webhook with another secret or key.
class Rotated(TypedDict):
    receiver: Receiver
    # The secret that the service has made, which is never shown again; null if it has made none. `receiver.shown` has the public key of a key.
    secret: str | None
    # The one before signs too.
    until: str

# A message to a receiver.
class Delivery(TypedDict):
    # Of the message here.
    id: int
    # `webhook-id`; the same in every attempt.
    message_id: str
    # Why there is the message: event (one), close (events of one close), quiet (events of quiet hours), budget (what exceeded `per_minute`), replay, notice (a receiver is disabled).
    reason: str
    # Name of the rule; null without one.
    rule: str | None
    # Name of the receiver.
    receiver: str
    # gathering (more events may be added), pending, delivered, expired, failed, cancelled.
    state: str
    # One line; empty while it gathers.
    title: str
    # Events that it is about.
    events: int
    # Events that it is not about: inhibited, or out of date.
    left_out: int
    # That failed, since it was queued or sent again.
    attempts: int
    # Why it has not been delivered yet, or will not be; null without a failure.
    error: str | None
    # When its first event was added.
    created_at: str
    # The next attempt, or the end of gathering; null after the last attempt, and while it waits for an earlier message about one of its levels.
    due_at: str | None
    # When the first of its events is out of date and leaves the message. Without any event left it expires. Null if none ever is.
    expires_at: str | None
    # When it was delivered or given up; null before.
    finished_at: str | None

# A message, what was sent, and the attempts.
class DeliveryDetail(TypedDict):
    # Of the message here.
    id: int
    # `webhook-id`; the same in every attempt.
    message_id: str
    # Why there is the message: event (one), close (events of one close), quiet (events of quiet hours), budget (what exceeded `per_minute`), replay, notice (a receiver is disabled).
    reason: str
    # Name of the rule; null without one.
    rule: str | None
    # Name of the receiver.
    receiver: str
    # gathering (more events may be added), pending, delivered, expired, failed, cancelled.
    state: str
    # One line; empty while it gathers.
    title: str
    # Events that it is about.
    events: int
    # Events that it is not about: inhibited, or out of date.
    left_out: int
    # That failed, since it was queued or sent again.
    attempts: int
    # Why it has not been delivered yet, or will not be; null without a failure.
    error: str | None
    # When its first event was added.
    created_at: str
    # The next attempt, or the end of gathering; null after the last attempt, and while it waits for an earlier message about one of its levels.
    due_at: str | None
    # When the first of its events is out of date and leaves the message. Without any event left it expires. Null if none ever is.
    expires_at: str | None
    # When it was delivered or given up; null before.
    finished_at: str | None
    # For people, of other receivers than webhooks.
    text: str
    # The JSON of webhooks; null while it gathers.
    body: Any
    # The last attempts, oldest first.
    log: list[Attempt]
    # Numbers of its events, at most 500.
    seqs: list[int]

class DeliveryPage(TypedDict):
    # The newest first.
    deliveries: list[Delivery]
    # The parameter `before` of the next page; null on the last one.
    next: int | None

# One attempt to deliver a message.
class Attempt(TypedDict):
    # When it began.
    at: str
    # Of HTTP, or the reply code of SMTP; 0 without a response.
    status: int
    # How long it took.
    latency_ms: int
    # delivered, retry, gone (it wants no more), refused (the address is not permitted).
    outcome: str
    # One sentence without secrets; empty if it was delivered.
    error: str

# A range of numbers of events.
class ReplayRequest(TypedDict):
    # The number before the first.
    after: int
    # The last.
    up_to: int

# What became of a range of events.
class Replay(TypedDict):
    # Of the range.
    events: int
    # That the rule selects.
    matched: int
    # Of these, not sent because they are out of date.
    expired: int
    # Messages that were made.
    deliveries: int
    # The number after which the rest of the range begins; 0 if there is no rest.
    next: int

class SymbolList(TypedDict):
    # The exchange of all pairs; `all` for several.
    exchange: str
    symbols: list[Symbol]
    # The number of pairs in this reply.
    count: int
    # Whether the exchange is simulated.
    simulated: bool

# A pair as the exchange lists it.
class Symbol(TypedDict):
    # The exchange's own name of the pair.
    symbol: str
    # Its exchange.
    exchange: str
    # The canonical name: BASE/QUOTE, or BASE/QUOTE:SETTLE for a contract.
    name: str
    # The asset traded.
    base: str
    # The asset it is paid in.
    quote: str
    # Whether it is open for trading now.
    trading: bool
    # The status reported by the exchange.
    status: str
    # Step of its prices; null if unknown.
    tick_size: float | None
    # Traded in the last 24 hours, in the quote asset.
    quote_volume: float
    # Whether a sweep covers it.
    selected: bool
    # The reason if not.
    reason: Reason | None

class ExchangeListExchangesIntervals(TypedDict):
    interval: Interval
    # The number of pairs with an analysis.
    pairs: int
    # The time of the newest analysis.
    as_of: str

class ExchangeListExchanges(TypedDict):
    # Its name.
    exchange: str
    # Whether this process serves it.
    served: bool
    # The number of pairs listed and trading. Null before the first sweep is planned.
    pairs: int | None
    # How requests of this process to it fare. Null if this process does not serve it.
    status: ExchangeStatus | None
    # Intervals with levels, shortest first.
    intervals: list[ExchangeListExchangesIntervals]

class ExchangeList(TypedDict):
    exchanges: list[ExchangeListExchanges]

# How requests to an exchange fare.
class ExchangeStatus(TypedDict):
    # Whether its prices are invented, or replayed.
    simulated: bool
    # The first and the last day of the candles that a simulated exchange replays, such as 2021-04-04/2023-12-30. Null without a replay.
    replay: str | None
    # Its limits of requests.
    budgets: list[Budget]
    # No request is sent before this time. Null while requests are sent.
    paused_until: str | None
    # Why. Null while requests are sent.
    pause_reason: Literal["rate_limited", "banned", "null"]
    # This machine's clock less the exchange's, in milliseconds; null if unknown.
    clock_skew_ms: int | None
    # When the last request succeeded; null before the first.
    last_success: str | None
    # Whether the last request was answered; null before the first.
    reachable: bool | None
    # The state of its live pairs. Null if this process keeps none live (ANALYSIS_LIVE).
    live: LivePairs | None
    # The prices between closes. Null if this process reads none (PRICES_EVERY).
    prices: PricesRead | None

# The state of the live pairs of an exchange.
class LivePairs(TypedDict):
    # Pairs times intervals that this process keeps live.
    series: int
    # Of these are not pushed: the exchange is asked for each candle after its close.
    polled: int
    # Of these are put together from the candles of a shorter interval. The exchange is not asked for a candle of them once two have been equal to its own.
    merged: int
    # Pairs times intervals that no process keeps live, because the limits of the exchange or the memory do not allow it. They are those with the least volume.
    unkept: int
    # Series with a candle that is not analysed yet.
    waiting: int
    # Open connections to the feed of the exchange; 0 where it has none.
    connections: int
    # Series asked for on the connections.
    subscriptions: int
    # Messages received.
    frames: int
    reconnects: Reconnects
    # When the last message came; null before the first.
    last_frame: str | None
    # Series whose last stored candles were compared with those of the exchange.
    audits: int
    # Candles of these that differed from those of the exchange. Their pairs were fetched again.
    audit_differences: int

# The last prices of the pairs of an exchange.
class PricesRead(TypedDict):
    # Pairs with a price.
    pairs: int
    # When they were read; null before the first time.
    read_at: str | None
    # How often they are read.
    every_seconds: float
    # Whether replies use them. They do not once three readings have failed.
    current: bool

# How often a connection to a feed was opened again, by reason.
class Reconnects(TypedDict):
    # Before the exchange closes it, or because it is full.
    planned: int
    # It was closed.
    closed: int
    # Nothing came for too long.
    silent: int
    # It could not be opened.
    failed: int

# A limit of requests to an exchange, as it counts them.
class Budget(TypedDict):
    # What is counted: weight or requests.
    name: str
    # Used in the current period, by all programs behind this address.
    used: int
    # The limit of a period.
    limit: int
    # The used part of the limit.
    used_share: float
    # The part of the limit that this process uses at most.
    share: float

class KlineList(TypedDict):
    # The pair.
    symbol: str
    # The canonical name: BASE/QUOTE, or BASE/QUOTE:SETTLE for a contract. Null if it is not known, which it is once a sweep of the exchange has been planned.
    name: str | None
    # Its exchange.
    exchange: str
    interval: Interval
    # Whether the exchange is simulated.
    simulated: bool
    # Candles missing between the first and the last.
    missing_klines: int
    # Rows of open time (Unix milliseconds), open, high, low, close, volume.
    klines: list[list[float]]

class FormingKline(TypedDict):
    # The pair.
    symbol: str
    # The canonical name: BASE/QUOTE, or BASE/QUOTE:SETTLE for a contract. Null if it is not known, which it is once a sweep of the exchange has been planned.
    name: str | None
    # Its exchange.
    exchange: str
    interval: Interval
    # Whether the exchange is simulated.
    simulated: bool
    # By the exchange's clock: the kline is as of this time, or slightly later.
    at: str | None
    # When it closes.
    closes_at: str | None
    # Open time (Unix milliseconds), open, and the high, low, close and volume so far. Null if none is open.
    kline: list[float] | None

class ProblemErrors(TypedDict):
    # What is wrong there.
    detail: str
    # Name of a parameter of path or query.
    parameter: NotRequired[str]
    # JSON Pointer (RFC 6901) into the body; empty for the whole of it.
    pointer: NotRequired[str]

# What went wrong (RFC 9457).
class Problem(TypedDict):
    # A link to the explanation of the code.
    type: str
    # The kind of problem, in a few words.
    title: str
    # The HTTP status.
    status: int
    # What happened in this case.
    detail: str
    # The requested path.
    instance: str
    code: Code
    # Identifies the request in the log.
    request_id: str
    # The invalid parts of the request.
    errors: NotRequired[list[ProblemErrors]]
    # The pairs that the name means, with `ambiguous_symbol`.
    choices: NotRequired[list[PairChoice]]

# A pair of an exchange.
class PairChoice(TypedDict):
    # Its exchange.
    exchange: str
    # The exchange's id.
    symbol: str
    # The canonical name: BASE/QUOTE, or BASE/QUOTE:SETTLE for a contract.
    name: str

# A stable code for programs.
Code: TypeAlias = Literal["invalid_request", "unauthorized", "forbidden_host", "cross_origin", "not_found", "not_analyzed", "unknown_level", "unknown_job", "method_not_allowed", "job_finished", "not_explainable", "candles_not_kept", "cancelled", "conflict", "no_secrets_key", "body_too_large", "unsupported_media_type", "ambiguous_symbol", "unknown_symbol", "unknown_exchange", "too_few_candles", "too_many_requests", "internal", "exchange_unavailable", "busy", "stopping", "banned", "rate_limited", "storage_unavailable", "timeout"]
