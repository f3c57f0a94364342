-- The state of the levels of a series between its analyses: which price approaches, has
-- touched, or must leave before they count again. See package event.
CREATE TABLE watches (
    series_id BIGINT NOT NULL PRIMARY KEY REFERENCES series (id) ON DELETE CASCADE,
    as_of     BIGINT NOT NULL, -- of the analysis up to which it was advanced, Unix ms
    state     BLOB   NOT NULL
);

-- What happened to levels. seq is the order in which readers see the rows. There is one
-- writer at a time, so no row appears before one that a reader has seen. It is never used
-- twice, even after the newest row was deleted.
CREATE TABLE events (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    -- made of what happened: two processes that see the same store it once
    id        TEXT   NOT NULL UNIQUE,
    exchange  TEXT   NOT NULL,
    symbol    TEXT   NOT NULL,
    interval  TEXT   NOT NULL,
    kind      TEXT   NOT NULL,
    role      TEXT   NOT NULL, -- support or resistance
    level     TEXT   NOT NULL, -- its id, 16 hexadecimal digits
    edge      REAL NOT NULL,
    at        BIGINT NOT NULL, -- when it happened, Unix ms
    stored_at BIGINT NOT NULL, -- by the clock of the process that stored it, Unix ms
    body      BLOB   NOT NULL  -- the JSON object of the API without seq
);

-- the events of a pair, newest first, and those since a time
CREATE INDEX events_by_symbol ON events (symbol, seq);
CREATE INDEX events_by_time ON events (stored_at);
