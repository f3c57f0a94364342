-- The last candles of each series are kept, so that a later analysis fetches
-- only what is new.
--
-- A series is cut into blocks of 128 candles by the clock: every block covers
-- the same span of open times, whoever writes it and from where. An analysis
-- that adds one candle replaces the newest block, some 400 bytes; one row for a
-- series would be 13 KB written anew for each candle. Blocks stay below what
-- SQLite moves to overflow pages and PostgreSQL out of its table.
CREATE TABLE candles (
    series_id    BIGINT  NOT NULL REFERENCES series (id) ON DELETE CASCADE,
    -- the first open time of the block's span, on which there need be no candle
    span         BIGINT  NOT NULL,
    -- from where on the venue has no other candles than these: where the block
    -- before ends, or, of a series' first, what was asked for. A young pair is
    -- told from one whose older candles were never fetched, and a block that
    -- does not follow the one before from one behind a hole of the venue.
    covered_from BIGINT  NOT NULL,
    -- a simulated market's candles are never taken for a real one's
    simulated    BOOLEAN NOT NULL,
    -- packed as in levels/block.go
    block        BYTEA   NOT NULL,
    -- in the order in which a series is read, and what falls out of it first
    PRIMARY KEY (series_id, span)
);
