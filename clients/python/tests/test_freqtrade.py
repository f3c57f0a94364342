"""The strategy of the examples on candles, with a stand-in of freqtrade."""

import gzip
import os
import sys
import types
import unittest
from pathlib import Path
from typing import Any

import pandas as pd

import tidemark


class IStrategy:
    """As much of freqtrade.strategy.IStrategy as the example uses."""

    dp: Any = None


sys.modules["freqtrade"] = types.ModuleType("freqtrade")
sys.modules["freqtrade.strategy"] = types.ModuleType("freqtrade.strategy")
sys.modules["freqtrade.strategy"].IStrategy = IStrategy  # type: ignore[attr-defined]
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from freqtrade_levels import LevelsStrategy  # noqa: E402

COLUMNS = [name + "_" + field for name in ("support", "resistance") for field in ("low", "high", "edge")]


def candles(client: tidemark.Client) -> pd.DataFrame:
    """Candles as freqtrade has them: of the real market if there are any, else of the service's."""
    recorded = Path(os.environ.get("TIDEMARK_SHARED", "")) / "klines" / "BTCUSDT-1h.csv.gz"
    if os.environ.get("TIDEMARK_SHARED") and recorded.exists():
        with gzip.open(recorded, "rt") as file:
            table = pd.read_csv(file, header=None, nrows=500, skiprows=1).iloc[:, :6]
        table.columns = pd.Index(["date", "open", "high", "low", "close", "volume"])
        table["date"] = pd.to_datetime(table["date"], unit="ms", utc=True)
        return table
    client.analyze("BTCUSDT")
    return tidemark.frame(client.klines("BTCUSDT", limit=500)).rename(columns={"open_time": "date"})


class Freqtrade(unittest.TestCase):
    def setUp(self) -> None:
        self.strategy = LevelsStrategy()
        self.strategy.startup_candle_count = 250
        self.table = candles(self.strategy.client)

    def run_on(self, table: pd.DataFrame) -> pd.DataFrame:
        meta = {"pair": "BTC/USDT"}
        table = self.strategy.populate_indicators(table.copy(), meta)
        return self.strategy.populate_exit_trend(self.strategy.populate_entry_trend(table, meta), meta)

    def test_later_candles_do_not_change_earlier_rows(self) -> None:
        whole = self.run_on(self.table)
        for n in (300, 401):
            pd.testing.assert_frame_equal(self.run_on(self.table[:n]), whole[:n], check_like=True)
        self.assertGreater(whole[COLUMNS].notna().any(axis=1).sum(), 50)
        self.assertTrue(whole[COLUMNS].iloc[:49].isna().all(axis=None))
        self.assertTrue((whole["exit_long"] == 1).any())

    def test_live_rows_have_levels_only_as_of_their_close(self) -> None:
        self.strategy.dp = types.SimpleNamespace(runmode=types.SimpleNamespace(value="dry_run"))
        newest = self.strategy.client.analyze("BTCUSDT")
        table = tidemark.frame(self.strategy.client.klines("BTCUSDT", limit=300)).rename(columns={"open_time": "date"})
        got = self.run_on(table)
        self.assertTrue(got[COLUMNS].iloc[:-1].isna().all(axis=None))
        if newest["supports"]:
            self.assertEqual(got["support_low"].iloc[-1], newest["supports"][0]["low"])


if __name__ == "__main__":
    unittest.main()
