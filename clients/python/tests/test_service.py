"""The client against a running service, TIDEMARK_URL, and against a server here that fails on purpose."""

import datetime
import http.server
import json
import os
import threading
import unittest

import pandas as pd

import tidemark

URL, KEY = os.environ["TIDEMARK_URL"], os.environ["TIDEMARK_KEY"]
UTC = datetime.timezone.utc


class Service(unittest.TestCase):
    client = tidemark.Client(URL + "/", key=KEY)

    @classmethod
    def setUpClass(cls) -> None:
        states = list(cls.client.follow(cls.client.sweep(interval="1h")["id"]))
        assert states[-1]["state"] == "completed" and states[-1]["symbols_done"] > 0, states
        cls.job = cls.client.job(states[-1]["id"])

    def test_levels_and_their_explanations(self) -> None:
        a = self.client.levels("BTC/USDT", faint=True)
        self.assertTrue(a["simulated"])
        self.assertEqual(self.client.levels("BTCUSDT", at=datetime.datetime.now(UTC), faint=True)["as_of"], a["as_of"])
        table = tidemark.frame(a)
        self.assertEqual(len(table), len(a["supports"]) + len(a["resistances"]))
        self.assertEqual(str(table["as_of"].dt.tz), "UTC")
        self.assertEqual(set(table["symbol"]), {"BTCUSDT"})
        self.assertTrue((table["low"] <= table["price"]).all() and (table.loc[table["role"] == "support", "price"] <= a["last_price"]).all())
        level = (a["supports"] + a["resistances"])[0]
        self.assertEqual(self.client.explain("BTC/USDT", level["id"])["level"], level)
        marks = tidemark.frame(self.client.marks("BTCUSDT"))
        self.assertIn("label", marks.columns)
        self.client.analyze("BTCUSDT", interval="4h")
        both = self.client.levels_at("BTCUSDT", ["4h", "1d", "1h"], faint=True)
        self.assertEqual(both["intervals"][1]["problem"]["code"], "not_analyzed")
        self.assertEqual(set(tidemark.frame(both)["interval"]), {"1h", "4h"})

    def test_screens_turn_pages(self) -> None:
        one, many = list(self.client.screen(faint=True, sort="-edge")), list(self.client.screen(faint=True, sort="-edge", limit=7))
        self.assertEqual(one, many)
        self.assertGreater(len(one), 7)
        self.assertEqual(len(tidemark.frame(one)), len(one))
        some = list(self.client.screen(symbols=["BTCUSDT", "ETHUSDT"], role="support", min_edge=0))
        self.assertLessEqual({row["symbol"] for row in some}, {"BTCUSDT", "ETHUSDT"})

    def test_problems_are_exceptions(self) -> None:
        with self.assertRaises(tidemark.Problem) as caught:
            tidemark.Client(URL).levels("BTCUSDT")
        self.assertEqual((caught.exception.code, caught.exception.status), ("unauthorized", 401))
        with self.assertRaises(tidemark.Problem) as caught:
            self.client.levels("BTCUSDT", interval="3d")
        self.assertEqual((caught.exception.code, caught.exception.status, caught.exception.retry_after), ("not_analyzed", 404, None))
        with self.assertRaises(tidemark.Problem) as caught:
            self.client.analyze_candles([[0, 1, 1, 1, 1, -1]], "1h")
        self.assertEqual(caught.exception.errors[0]["pointer"], "/klines/0")
        with self.assertRaises(tidemark.Problem) as caught:
            self.client.cancel(self.job["id"])
        self.assertEqual(caught.exception.code, "job_finished")
        with self.assertRaises(OSError):
            tidemark.Client("http://127.0.0.1:1").levels("BTCUSDT")
        self.assertTrue(self.client.exchanges() and self.client.symbols()["count"] and self.client.jobs(limit=1))

    def test_candles_of_any_kind_give_the_same_levels(self) -> None:
        klines = self.client.klines("BTCUSDT", limit=600)
        want = self.client.analyze_candles(klines["klines"], "1h", faint=True)
        self.assertGreater(len(want["supports"]) + len(want["resistances"]), 0)
        table = tidemark.frame(klines)
        aware = table.set_index("open_time")
        naive = table.assign(Date=table["open_time"].dt.tz_localize(None)).drop(columns="open_time").rename(columns=str.title)
        berlin = aware.tz_convert("Europe/Berlin")
        seconds = [[row[0] // 1000, *row[1:]] for row in klines["klines"]]
        for candles in (table, aware, naive, berlin, seconds, [[datetime.datetime.fromtimestamp(r[0], UTC), *r[1:]] for r in seconds]):
            got = self.client.analyze_candles(candles, "1h", faint=True)
            self.assertEqual({**got, "computed_at": ""}, {**want, "computed_at": ""})
        for bad, says in ((table.drop(columns="volume"), "volume"), (table.assign(close=float("nan")), "candle 0"), (table.drop(columns="open_time"), "no times")):
            with self.assertRaisesRegex(ValueError, says):
                self.client.analyze_candles(bad, "1h")

    def test_history_is_without_look_ahead_and_of_any_length(self) -> None:
        table = tidemark.frame(self.client.klines("BTCUSDT", limit=900))
        closes = [t + pd.Timedelta("1h") for t in table["open_time"].iloc[[30, 400, 401, 899]]]
        got = list(self.client.history(table, "1h", moments=closes[::-1], kline_limit=300, tick_size=0.01, faint=True))
        self.assertEqual(got[0]["problem"]["code"], "too_few_candles")
        for n, moment in zip((401, 402, 900), got[1:]):
            want = self.client.analyze_candles(table[:n], "1h", kline_limit=300, tick_size=0.01, faint=True)
            self.assertEqual([level["id"] for level in moment["levels"]], [level["id"] for level in want["supports"] + want["resistances"]])
            self.assertEqual([level["price"] for level in moment["levels"]], [level["price"] for level in want["supports"] + want["resistances"]])
        whole = {
            name: list(self.client.history(table, "1h", kline_limit=300, tick_size=0.01, **options))  # type: ignore[arg-type]
            for name, options in {"every": {"every": 8, "start": closes[1]}, "moments": {"moments": closes}}.items()
        }
        before, tidemark._client.MAX_KLINES = tidemark._client.MAX_KLINES, 450
        try:  # in parts
            self.assertEqual(list(self.client.history(table, "1h", kline_limit=300, tick_size=0.01, every=8, start=closes[1])), whole["every"])
            self.assertEqual(list(self.client.history(table, "1h", kline_limit=300, tick_size=0.01, moments=closes)), whole["moments"])
        finally:
            tidemark._client.MAX_KLINES = before
        self.assertIn(len(whole["every"]), (62, 63))
        frame = tidemark.frame(whole["every"])
        seconds = [[row.open_time.timestamp(), *row[2:7]] for row in table.itertuples()]
        self.assertEqual(list(self.client.history(seconds, "1h", kline_limit=300, tick_size=0.01, moments=closes)), whole["moments"])
        self.assertEqual(len(frame), sum(len(m["levels"]) for m in whole["every"]))

    def test_events_of_the_service(self) -> None:
        self.client.analyze("BTCUSDT", kline_limit=700, store=True)
        got = list(self.client.events(since=0, kind=["appeared", "vanished"], limit=2))
        self.assertEqual([one["seq"] for one in got], sorted({one["seq"] for one in got}))
        if got:
            self.assertIn("level_price", tidemark.frame(got).columns)
            self.assertEqual(next(self.client.follow_events(since=0, kind=["appeared", "vanished"])), got[0])
        with self.assertRaises(tidemark.Problem) as caught:
            list(self.client.events(kind="nonsense"))
        self.assertEqual(caught.exception.errors[0]["parameter"], "kind")


class Faults(unittest.TestCase):
    """Streams that break, refusals and redirects."""

    def serve(self, *answers: object) -> tuple[tidemark.Client, list[dict[str, str]]]:
        asked: list[dict[str, str]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = answers[min(len(asked), len(answers) - 1)]
                asked.append({"path": self.path, **{name.lower(): value for name, value in self.headers.items()}})
                if isinstance(answer, tuple):
                    status, headers, body = answer
                else:
                    status, headers, body = 200, {"Content-Type": "text/event-stream"}, answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(str(body).encode())

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        return tidemark.Client(f"http://127.0.0.1:{server.server_address[1]}", key="secret", timeout=5), asked

    def test_events_continue_after_the_last_one(self) -> None:
        problem = json.dumps({"code": "busy", "detail": "later", "status": 503})
        client, asked = self.serve(
            'retry: 1\nid: 4\n\n: hello\nid: 5\nevent: held\ndata: {"seq":5,\ndata: "kind":"held"}\n\nid: 6\ndata: {"seq": 6',
            (503, {"Retry-After": "0", "Content-Type": "application/problem+json"}, problem),
            'id: 6\ndata: {"seq": 6}\n\n',
            "event: missed\ndata: {}\n\n",
        )
        got = []
        with self.assertRaises(tidemark.Missed):
            for event in client.follow_events(kind=["held", "broke"], since="latest"):
                got.append(event["seq"])
        self.assertEqual(got, [5, 6])
        self.assertEqual([one.get("last-event-id") for one in asked], [None, "5", "5", "6"])
        self.assertTrue(all(one["path"] == "/events?kind=held%2Cbroke&since=latest" and one["x-api-key"] == "secret" for one in asked))

    def test_following_gives_up_where_waiting_is_useless(self) -> None:
        for status, retry in ((404, "1"), (503, "9000")):
            client, asked = self.serve((status, {"Retry-After": retry, "Content-Type": "application/problem+json"}, '{"code":"x","detail":"y"}'))
            with self.assertRaises(tidemark.Problem) as caught:
                list(client.follow("a"))
            self.assertEqual((caught.exception.status, caught.exception.retry_after, len(asked)), (status, float(retry), 1))

    def test_a_redirect_does_not_get_the_key(self) -> None:
        client, asked = self.serve((302, {"Location": "/elsewhere"}, ""))
        with self.assertRaises(tidemark.Problem) as caught:
            client.levels("BTCUSDT")
        self.assertEqual((caught.exception.status, len(asked)), (302, 1))


if __name__ == "__main__":
    unittest.main()
