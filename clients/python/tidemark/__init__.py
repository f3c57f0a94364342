"""Client of tidemark, a service that serves support and resistance levels.

    import tidemark

    client = tidemark.Client("http://127.0.0.1:8080")
    for level in client.levels("BTC/USDT", interval="1h")["supports"]:
        print(level["low"], level["high"], level["edge"])

Replies are the JSON of the service, as typed dictionaries of :mod:`tidemark.types`. Times in
them are text (RFC 3339, UTC), prices are in the quote asset, ``edge`` is in points
(hundredths of a probability), distances in ATR or percent. :func:`frame` turns them into a
pandas DataFrame with times in UTC. Errors of the service are raised as :class:`Problem`;
if it cannot be reached, the error is an OSError.
"""

from ._client import Client, Missed, Problem
from ._frames import frame

__all__ = ["Client", "Missed", "Problem", "frame"]
