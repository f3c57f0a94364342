from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, cast

from . import types as t
from ._frames import millis, rows

Moment = datetime | str | int | float
"""A time: a datetime (naive: UTC), RFC 3339, or Unix milliseconds."""

MAX_KLINES = 10_000
"""The klines of a request."""

_MAX_WAIT = 300.0  # seconds; a longer Retry-After is raised
_SILENCE = 45.0  # seconds without a byte after which a stream is opened again


class Problem(Exception):
    """An error that the service answered with (RFC 9457).

    ``code`` is for programs (not_analyzed, too_many_requests, ...), ``detail`` for people,
    ``status`` is of HTTP. ``retry_after`` is in seconds, None if the service has no wish.
    ``errors`` says which parameter or place in the body is wrong; ``choices`` are the pairs
    that an ambiguous name means.
    """

    def __init__(self, status: int, code: str, detail: str, retry_after: float | None = None, document: dict[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.status, self.code, self.detail, self.retry_after = status, code, detail, retry_after
        document = document or {}
        self.request_id: str = document.get("request_id", "")
        self.errors: list[dict[str, str]] = document.get("errors", [])
        self.choices: list[dict[str, str]] = document.get("choices", [])


class Missed(Exception):
    """Events after the last one read have been deleted, because they were too old.

    To continue, begin again with ``since=0``, the oldest event that is stored.
    """


class Client:
    """Access to one service. It has no state, so threads may share it.

    ``key`` is one of its API_KEYS. ``timeout`` bounds, in seconds, each wait for the service:
    for the connection, and for the next bytes of a reply.
    """

    def __init__(self, base_url: str = "http://127.0.0.1:8080", *, key: str | None = None, timeout: float = 60.0) -> None:
        self._base, self._key, self._timeout = base_url.rstrip("/"), key, timeout
        self._opener = urllib.request.build_opener(_NoRedirect)

    # Levels.

    def levels(
        self, symbol: str, *, interval: str | None = None, exchange: str | None = None, at: datetime | str | None = None,
        min_edge: float | None = None, faint: bool | None = None,
    ) -> t.Analysis:
        """The stored analysis of a pair: the newest, or the one that was the newest ``at`` a time.

        ``min_edge`` is in points. ``faint`` adds levels with less than the service's least edge.
        Raises Problem with the code not_analyzed if there is none.
        """
        query = {"interval": interval, "exchange": exchange, "at": _text(at), "min_edge": min_edge, "faint": faint}
        return cast(t.Analysis, self._get(f"/levels/{_segment(symbol)}", query))

    def levels_at(
        self, symbol: str, intervals: Sequence[str], *, exchange: str | None = None, min_edge: float | None = None, faint: bool | None = None,
    ) -> t.PairOnIntervals:
        """The stored analyses of a pair on two or more intervals, in their order.

        ``confluence`` of a level names those of the other intervals beside it. An interval
        without an analysis has only ``interval`` and ``problem``.
        """
        if len(intervals) < 2:
            raise ValueError("levels_at is of two or more intervals; levels is of one")
        query = {"interval": ",".join(intervals), "exchange": exchange, "min_edge": min_edge, "faint": faint}
        return cast(t.PairOnIntervals, self._get(f"/levels/{_segment(symbol)}", query))

    def screen(
        self, *, interval: str | None = None, exchange: str | None = None, role: str | None = None, state: str | None = None,
        found_by: str | None = None, min_edge: float | None = None, faint: bool | None = None, min_strength: float | None = None,
        max_distance_pct: float | None = None, max_distance_atr: float | None = None,
        min_quote_volume: float | None = None, confluence: Iterable[str] | None = None, symbol: str | None = None,
        symbols: Iterable[str] | None = None, watchlist: str | None = None, sort: str | None = None, limit: int = 1000,
    ) -> Iterator[t.LevelRow]:
        """The levels of all pairs, the nearest to their prices first unless ``sort`` says otherwise.

        Pages of ``limit`` rows (1 to 1,000) are fetched as needed. ``min_edge`` is in points,
        ``max_distance_pct`` in percent of the price, ``max_distance_atr`` in ATR, ``min_quote_volume``
        of 24 hours in the quote asset. ``state`` may have several, separated by commas;
        ``confluence`` is intervals that have a level beside it; ``symbol`` a prefix,
        ``watchlist`` the name of one, ``sort`` such as "-edge".
        """
        query: dict[str, Any] = {
            "interval": interval, "exchange": exchange, "role": role, "state": state, "found_by": found_by, "min_edge": min_edge,
            "faint": faint, "min_strength": min_strength, "max_distance_pct": max_distance_pct, "max_distance_atr": max_distance_atr,
            "min_quote_volume": min_quote_volume, "confluence": _list(confluence), "symbol": symbol, "symbols": _list(symbols), "watchlist": watchlist, "sort": sort, "limit": limit,
        }
        while True:
            page = cast(t.LevelPage, self._get("/levels", query))
            yield from page["levels"]
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    def explain(self, symbol: str, id: str, *, interval: str | None = None, exchange: str | None = None) -> t.Explanation:
        """Why a level of the newest analysis is there, and what moves its odds (points)."""
        return cast(t.Explanation, self._get(f"/levels/{_segment(symbol)}/{_segment(id)}", {"interval": interval, "exchange": exchange}))

    def marks(self, symbol: str, *, interval: str | None = None, exchange: str | None = None) -> t.PriceMarks:
        """Prices that every trader sees, such as the high of the last week, without odds."""
        return cast(t.PriceMarks, self._get(f"/levels/{_segment(symbol)}/marks", {"interval": interval, "exchange": exchange}))

    def analyze(
        self, symbol: str, *, interval: str | None = None, exchange: str | None = None, kline_limit: int | None = None,
        store: bool | None = None, faint: bool | None = None,
    ) -> t.Analysis:
        """Fetches the newest candles of a pair and finds its levels now.

        The analysis is stored, unless ``store`` is False or ``kline_limit`` (100 to 10,000
        candles) is not the service's default.
        """
        body = {"symbol": symbol, "interval": interval, "exchange": exchange, "kline_limit": kline_limit, "store": store, "faint": faint}
        return cast(t.Analysis, self._post("/analyze", body))

    # Candles of one's own.

    def analyze_candles(
        self, candles: Any, interval: str, *, kline_limit: int | None = None, tick_size: float | None = None, faint: bool | None = None,
    ) -> t.Analysis:
        """Finds the levels of closed candles of one's own, at least 50. Nothing is stored.

        ``candles`` is a DataFrame, with open times in the index or a column and columns open,
        high, low, close and volume, or rows of these six values. Prices of the reply are
        rounded to ``tick_size``, or without it to the decimals of the candles.
        """
        body = {"klines": rows(candles), "interval": interval, "kline_limit": kline_limit, "tick_size": tick_size, "faint": faint}
        return cast(t.Analysis, self._post("/analyze", body))

    def history(
        self, candles: Any, interval: str, *, moments: Iterable[Moment] | None = None, every: int | None = None,
        start: Moment | None = None, kline_limit: int | None = None, tick_size: float | None = None, faint: bool | None = None,
        min_edge: float | None = None,
    ) -> Iterator[t.HistoryMoment]:
        """The levels of one's own candles as of past moments, without look-ahead, by time.

        Each moment is answered from the last ``kline_limit`` candles that had closed by then
        (the service's default if None), as ``analyze_candles`` would with only these. Moments
        are times, or closes of candles at a multiple of ``every`` intervals since 1970, from
        ``start`` on. A moment with too few candles has a ``problem``.

        A series of any length is sent in parts of at most 10,000 candles. Give ``tick_size``
        for a long one: otherwise prices are rounded to the decimals of a part.
        """
        if (moments is None) == (every is None):
            raise ValueError("one of moments and every is needed")
        series = rows(candles)
        if len(series) == 0:
            raise ValueError("there are no candles")
        length = _LENGTHS[interval]
        _to_millis(series, length)
        wanted = None if moments is None else sorted(millis(m) for m in moments)
        begin = None if start is None else millis(start)
        fresh, since = 0, 0  # the first candle, and the first moment, that no part had yet
        while fresh < len(series):
            first = max(0, fresh - cast(int, kline_limit)) if fresh > 0 else 0
            end = min(len(series), first + MAX_KLINES)
            if end <= fresh:
                raise ValueError(f"kline_limit {kline_limit} leaves no room for further candles in a request of {MAX_KLINES}")
            body: dict[str, Any] = {
                "klines": series[first:end], "interval": interval, "kline_limit": kline_limit, "tick_size": tick_size, "faint": faint, "min_edge": min_edge,
            }
            if wanted is None:
                closes = int(series[fresh][0]) + length
                body["every"], body["from"] = every, closes if begin is None else max(begin, closes)
            else:
                until = int(series[end - 1][0]) + 2 * length  # the candle after the last one closes
                part = [m for m in wanted if since <= m and (m < until or end == len(series))]
                if len(part) > MAX_KLINES:
                    raise ValueError(f"there are more than {MAX_KLINES} moments in {end - fresh} candles")
                body["moments"], since = part, until
            if wanted is None or part or kline_limit is None:
                if wanted is not None and not part:
                    body["moments"] = [int(series[0][0])]  # for the service's kline_limit
                reply = cast(t.History, self._post("/analyze/history", body))
                kline_limit = reply["kline_limit"]
                yield from reply["moments"] if wanted is None or part else []
            fresh = end

    # The market.

    def klines(self, symbol: str, *, interval: str | None = None, exchange: str | None = None, limit: int | None = None) -> t.KlineList:
        """The last closed candles of a pair, for ``frame`` or ``analyze_candles(klines["klines"], ...)``."""
        return cast(t.KlineList, self._get(f"/klines/{_segment(symbol)}", {"interval": interval, "exchange": exchange, "limit": limit}))

    def symbols(self, *, exchange: str | None = None, quote: str | None = None, selected: bool | None = None) -> t.SymbolList:
        """The pairs of an exchange, and whether a sweep covers them."""
        return cast(t.SymbolList, self._get("/symbols", {"exchange": exchange, "quote": quote, "selected": selected}))

    def exchanges(self) -> list[t.ExchangeListExchanges]:
        """The exchanges of the service, and how requests to them fare."""
        return cast(t.ExchangeList, self._get("/exchanges", {}))["exchanges"]

    # Jobs.

    def sweep(self, *, interval: str | None = None, exchange: str | None = None) -> t.Job:
        """Starts an analysis of the whole market, or joins one under way. ``follow`` has its progress."""
        return cast(t.Job, self._post("/analyze", {"all": True, "interval": interval, "exchange": exchange}))

    def jobs(self, *, limit: int | None = None) -> list[t.JobSummary]:
        """The newest jobs, the newest first."""
        return cast(list[t.JobSummary], self._get("/jobs", {"limit": limit})["jobs"])

    def job(self, id: str) -> t.Job:
        """A job with its failures and skipped pairs."""
        return cast(t.Job, self._get(f"/jobs/{_segment(id)}", {}))

    def cancel(self, id: str) -> None:
        """Cancels a job. What it has analysed is stored."""
        self._request("DELETE", f"/jobs/{_segment(id)}").close()

    def follow(self, id: str) -> Iterator[t.JobSummary]:
        """The states of a job until it ends. A stream that breaks is opened again, up to five times in a row."""
        for _, _, data in self._stream(f"/jobs/{_segment(id)}/events", {}, lambda name, data: name != "missed" and data.get("state") in _ENDED):
            yield cast(t.JobSummary, data)

    # Events.

    def events(self, **filters: Any) -> Iterator[t.Event]:
        """The stored events that the filters of GET /events select, in their order.

        ``since`` is where to begin: the number of an event, a time or a duration such as "1h".
        Other filters are exchange, symbols, interval, kind, role, min_edge and level; lists are
        joined. Raises Missed if events after ``since`` have been deleted.
        """
        query = {name: _list(value) if isinstance(value, (list, tuple, set)) else _text(value) for name, value in filters.items()}
        while True:
            page = cast(t.EventPage, self._get("/events", query))
            if page["missed"]:
                raise Missed(f"events after {query.get('since')} have been deleted; since=0 begins with the oldest that is stored")
            yield from page["events"]
            if not page["more"]:
                return
            query["since"] = page["next"]

    def follow_events(self, *, last_event_id: str | None = None, **filters: Any) -> Iterator[t.Event]:
        """The events that the filters of ``events`` select, as they happen, without end.

        A stream that breaks is opened again after the last event, so that none is lost or
        repeated; after five failures in a row the error is raised. ``seq`` of an event, as
        text, is the ``last_event_id`` after which another process can continue.
        """
        query = {name: _list(value) if isinstance(value, (list, tuple, set)) else _text(value) for name, value in filters.items()}
        for name, _, data in self._stream("/events", query, lambda name, data: False, last_event_id):
            if name == "missed":
                raise Missed("events have been deleted before they were read")
            yield cast(t.Event, data)

    # Requests.

    def _get(self, path: str, query: dict[str, Any]) -> Any:
        with self._request("GET", path, query) as reply:
            return json.load(reply)

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        text = json.dumps({name: value for name, value in body.items() if value is not None}, allow_nan=False, separators=(",", ":"))
        with self._request("POST", path, body=text.encode()) as reply:
            return json.load(reply)

    def _request(
        self, method: str, path: str, query: dict[str, Any] | None = None, body: bytes | None = None, accept: str = "application/json",
        last_event_id: str | None = None, timeout: float | None = None,
    ) -> http.client.HTTPResponse:
        target = self._base + path
        given = {name: _text(value) for name, value in (query or {}).items() if value is not None}
        if given:
            target += "?" + urllib.parse.urlencode(given)
        headers = {"Accept": accept, "User-Agent": "tidemark-python"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._key is not None:
            headers["X-API-Key"] = self._key
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        request = urllib.request.Request(target, data=body, headers=headers, method=method)
        try:
            return cast(http.client.HTTPResponse, self._opener.open(request, timeout=self._timeout if timeout is None else timeout))
        except urllib.error.HTTPError as error:
            with error:
                raise _problem(error) from None

    def _stream(self, path: str, query: dict[str, Any], last: Any, after: str | None = None) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
        """Yields name, id and data of server-sent events (WHATWG HTML, section 9.2) until last is true of one."""
        failures = 0
        while True:
            try:
                with self._request("GET", path, query, accept="text/event-stream", last_event_id=after, timeout=max(self._timeout, _SILENCE)) as reply:
                    name, id, data = "", after, ""
                    for line in reply:
                        field, _, value = line.decode().rstrip("\r\n").partition(":")
                        value = value.removeprefix(" ")
                        if field == "id":
                            id = value
                        elif field == "event":
                            name = value
                        elif field == "data":
                            data += value
                        elif field == "" and value == "":  # the end of a block
                            if data or name == "missed":
                                failures = 0
                                of = cast(dict[str, Any], json.loads(data or "{}"))
                                after = id
                                yield name, id, of
                                if last(name, of):
                                    return
                            name, data, after = "", "", id
                error: Exception = ConnectionError(f"the stream {path} ended")
            except Problem as problem:
                if problem.status < 500 and problem.status != 429 or (problem.retry_after or 0) > _MAX_WAIT:
                    raise
                error = problem
            except (OSError, http.client.HTTPException) as broken:
                error = broken
            failures += 1
            if failures > 5:
                raise error
            time.sleep(max(0.2 * failures, getattr(error, "retry_after", None) or 0))


_ENDED = ("completed", "failed", "cancelled")

_LENGTHS = {  # ms
    name: int(name[:-1]) * {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}[name[-1]]
    for name in ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w")
}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirects, which would send the key elsewhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _to_millis(series: list[list[float]], length: int) -> None:
    """Converts open times in seconds or microseconds, which the service recognises by the same rule."""
    first, last = series[0][0], series[-1][0]
    if first > 253_402_300_799_999_999:
        raise ValueError(f"open time {first} is later than the year 9999 in microseconds; divide nanoseconds by 1,000,000")
    if first > 253_402_300_799_999:
        for row in series:
            row[0] = row[0] // 1000
    elif last < 100_000_000_000 and last - first < (len(series) - 1) * length:
        for row in series:
            row[0] = row[0] * 1000


def _problem(error: urllib.error.HTTPError) -> Problem:
    document: dict[str, Any] = {}
    if error.headers.get_content_type() == "application/problem+json":
        try:
            document = json.load(error)
        except ValueError:
            pass
    return Problem(error.code, document.get("code", "unknown"), document.get("detail", f"{error.code} {error.reason}"), _retry_after(error.headers.get("Retry-After")), document)


def _retry_after(header: str | None) -> float | None:
    """Returns the seconds of a header with seconds or a date (RFC 9110, section 10.2.3)."""
    if header is None:
        return None
    if header.isdecimal():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def _segment(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def _list(values: Iterable[Any] | None) -> str | None:
    return None if values is None else ",".join(str(value) for value in values)


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return datetime.fromtimestamp(millis(value) / 1000, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value
