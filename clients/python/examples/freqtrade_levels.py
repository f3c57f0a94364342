"""A freqtrade strategy that buys at support levels of tidemark.

It is an example of how to use levels, not advice: the edge of a level is a few points.

In backtests the levels of each candle come from POST /analyze/history, which uses only the
candles that had closed by then. In live and dry runs they come from GET /levels/{pair}, so
tidemark must keep the exchange's pairs fresh (`tidemark serve`); levels of both ways are the
same if both have the same candles and ANALYSIS_KLINE_LIMIT of them.

The tests of this repository run it on a stand-in of IStrategy, and scripts/freqtrade in
freqtrade (docs/recipes.md).

    pip install tidemark-1.0.0-py3-none-any.whl
    freqtrade backtesting --strategy LevelsStrategy --timeframe 1h
"""

from __future__ import annotations

import os
from typing import Any

import tidemark
from freqtrade.strategy import IStrategy
from pandas import DataFrame, Timedelta, Timestamp


class LevelsStrategy(IStrategy):  # type: ignore[misc]
    INTERFACE_VERSION = 3
    timeframe = "1h"
    startup_candle_count = 2000  # those of an analysis
    minimal_roi = {"0": 0.04}
    stoploss = -0.03

    client = tidemark.Client(os.environ.get("TIDEMARK_URL", "http://127.0.0.1:8080"), key=os.environ.get("TIDEMARK_KEY"))

    def populate_indicators(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        if self.dp is not None and self.dp.runmode.value in ("live", "dry_run"):
            return self._add(dataframe, self._now(dataframe, metadata["pair"]))
        return self._add(dataframe, self._past(dataframe))

    def _past(self, dataframe: DataFrame) -> dict[Timestamp, list[Any]]:
        """The levels as of the close of each candle, by the close."""
        closes = dataframe["date"] + Timedelta(self.timeframe)
        moments = self.client.history(dataframe, self.timeframe, moments=closes.tolist(), kline_limit=self.startup_candle_count)
        return {Timestamp(m["at"]): list(m["levels"]) for m in moments}

    def _now(self, dataframe: DataFrame, pair: str) -> dict[Timestamp, list[Any]]:
        """The newest levels, by the close they are as of. Older candles get none: today's levels were not known then."""
        try:
            a = self.client.levels(pair, interval=self.timeframe)
        except tidemark.Problem as problem:
            if problem.code == "not_analyzed":
                return {}
            raise
        if a["stale"]:
            return {}
        return {Timestamp(a["as_of"]): [{"role": role, **level} for role in ("support", "resistance") for level in a[role + "s"]]}  # type: ignore[literal-required]

    def _add(self, dataframe: DataFrame, levels: dict[Timestamp, list[Any]]) -> DataFrame:
        """Adds the nearest level of each side by the close of the candle; NaN where there is none."""
        for role in ("support", "resistance"):
            for field in ("low", "high", "edge"):
                dataframe[f"{role}_{field}"] = float("nan")
        closes = dataframe["date"] + Timedelta(self.timeframe)
        for row, (index, close) in enumerate(zip(closes, dataframe["close"])):
            for role, sign in (("support", -1), ("resistance", 1)):
                side = [level for level in levels.get(index, []) if sign * (level["price"] - close) >= 0]
                if side:
                    nearest = min(side, key=lambda level: float(abs(level["price"] - close)))
                    for field in ("low", "high", "edge"):
                        dataframe.iat[row, dataframe.columns.get_loc(f"{role}_{field}")] = nearest[field]
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """Buys if the candle reached into a support of at least 3 points and closed above it."""
        reached = (dataframe["low"] <= dataframe["support_high"]) & (dataframe["close"] > dataframe["support_high"])
        dataframe.loc[reached & (dataframe["support_edge"] >= 3), "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """Sells at a resistance."""
        dataframe.loc[dataframe["high"] >= dataframe["resistance_low"], "exit_long"] = 1
        return dataframe
