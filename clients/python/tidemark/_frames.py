"""Candles as rows of the service, and its replies as DataFrames."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

_TIMES = ("open_time", "date", "datetime", "time", "timestamp")
_VALUES = ("open", "high", "low", "close", "volume")

# Names in replies whose values are times.
_MOMENTS = {
    "as_of", "computed_at", "price_at", "market_price_at", "first_touch", "last_touch", "first_tested", "last_tested", "at", "time",
    "occurred_at", "emitted_at", "begun", "touched_at", "from", "to",
}


def rows(candles: Any) -> list[list[float]]:
    """Returns candles as rows of open time, open, high, low, close, volume, oldest first.

    ``candles`` is a DataFrame with the columns open, high, low, close and volume in any case,
    and open times in the index or in a column open_time, date, datetime, time or timestamp;
    or an iterable of such rows. Times with a time zone are converted to UTC, naive ones are
    taken as UTC. Numbers are sent as they are: the service recognises Unix seconds,
    milliseconds and microseconds.

    Raises ValueError for a missing column and for a missing or infinite value.
    """
    if not hasattr(candles, "columns"):
        table = [list(row) for row in candles]
        for row in table:
            if isinstance(row[0], datetime):
                row[0] = millis(row[0])
    else:
        names = {str(name).lower(): name for name in candles.columns}
        missing = [name for name in _VALUES if name not in names]
        if missing:
            raise ValueError(f"the candles have no column {', '.join(missing)}")
        of = next((name for name in _TIMES if name in names), None)
        if of is None and not hasattr(candles.index, "tz"):
            raise ValueError(f"the candles have no times: neither an index of times nor a column {', '.join(_TIMES)}")
        times = _times(candles.index.to_series() if of is None else candles[names[of]])
        columns = [candles[names[name]].astype(float).tolist() for name in _VALUES]
        table = [list(row) for row in zip(times, *columns)]
    for i, row in enumerate(table):
        if any(isinstance(v, float) and not math.isfinite(v) for v in row[:6]):
            raise ValueError(f"candle {i} has a missing or infinite value: {row}")
    return table


def _times(column: Any) -> list[Any]:
    import pandas as pd

    if not pd.api.types.is_datetime64_any_dtype(column):
        if pd.api.types.is_numeric_dtype(column):
            return list(column.tolist())
        column = pd.to_datetime(column, utc=True)
    if column.isna().any():
        raise ValueError("an open time is missing")
    column = column.dt.tz_localize("UTC") if column.dt.tz is None else column.dt.tz_convert("UTC")
    return list(((column - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(milliseconds=1)).tolist())


def millis(time: datetime | str | int | float) -> int:
    """Returns a time in Unix milliseconds: a datetime (naive: UTC), RFC 3339, or such a number."""
    if isinstance(time, (int, float)):
        return int(time)
    if isinstance(time, str):
        time = datetime.fromisoformat(time.replace("Z", "+00:00"))
    if time.tzinfo is None:
        time = time.replace(tzinfo=timezone.utc)
    since = time - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def frame(reply: Any) -> Any:
    """Returns a reply as a pandas DataFrame, a row for each level, mark, event, candle or job.

    ``reply`` is an analysis (``levels``, ``analyze``, ``analyze_candles``), one on several
    intervals or exchanges (``levels_at``), marks, klines, or an iterable of dictionaries
    (``screen``, ``events``, ``history``). Levels have a column ``role``; what is said of the
    whole analysis, such as ``symbol``, ``as_of`` and ``last_price``, is repeated in each row.
    A moment of ``history`` without levels has no row. Times are in UTC.
    """
    import pandas as pd

    if isinstance(reply, Mapping) and "klines" in reply and isinstance(reply["klines"], Sequence):
        klines = pd.DataFrame(reply["klines"], columns=["open_time", *_VALUES])
        klines["open_time"] = pd.to_datetime(klines["open_time"], unit="ms", utc=True)
        return klines
    table = pd.DataFrame(_flat(reply))
    for name in table.columns:
        if name in _MOMENTS:
            table[name] = pd.to_datetime(table[name], utc=True)
    return table


def _flat(reply: Any) -> list[dict[str, Any]]:
    if not isinstance(reply, Mapping):
        return [row for one in reply for row in (_flat(one) if isinstance(one, Mapping) else [one])]
    for several in ("intervals", "exchanges"):
        if several in reply:
            return [row for one in reply[several] if "problem" not in one for row in _flat(_with(one, reply, ("symbol", "exchange")))]
    about = {name: value for name, value in reply.items() if not isinstance(value, (list, dict))}
    for name in ("problem", "price", "price_at"):
        about.pop(name, None)
    if "supports" in reply:
        about["market_price"], about["market_price_at"] = reply.get("price"), reply.get("price_at")
        return [{**about, "role": role, **level} for role in ("support", "resistance") for level in reply[role + "s"]]
    for inner in ("levels", "marks"):
        if isinstance(reply.get(inner), list):
            return [{**about, **one} for one in reply[inner]]
    if isinstance(reply.get("level"), Mapping):  # an event
        return [{**reply, **{"level_" + name: value for name, value in reply["level"].items()}}]
    return [dict(reply)]


def _with(one: Mapping[str, Any], outer: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {**{name: outer[name] for name in names if name in outer}, **one}
