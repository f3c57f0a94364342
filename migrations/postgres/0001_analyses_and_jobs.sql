-- The first schema: analyses with their history, jobs with what they left
-- behind, and bans. The SQLite folder has the same tables.
--
-- Every time is Unix milliseconds in UTC, as in the candles: both databases
-- compare and index a BIGINT the same way, and neither has a say in the zone.

-- One row for each series of candles there is something stored about. Whatever
-- belongs to a series refers to it by number, so that three names are not
-- repeated in every row of every index.
CREATE TABLE series (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    exchange     TEXT   NOT NULL,
    -- the order of its bytes, as in SQLite and in Go, whatever the locale
    symbol       TEXT   COLLATE "C" NOT NULL,
    interval     TEXT   NOT NULL,
    -- as_of of the newest analysis: a market's newest analyses are read by
    -- following it, not by looking for a maximum 50,000 times
    latest_as_of BIGINT NOT NULL,
    -- in the order in which a market is read: of one exchange and interval, by
    -- symbol
    UNIQUE (exchange, interval, symbol)
);

-- Analyses, the newest and the history. The row holds what is looked up and
-- the whole snapshot in the encoding of repository/codec.go: it is always read
-- and written whole, at about 55 bytes a level where columns of a table of
-- levels would take several times as much, in twenty rows instead of one.
CREATE TABLE analyses (
    series_id BIGINT NOT NULL REFERENCES series (id) ON DELETE CASCADE,
    as_of     BIGINT NOT NULL,
    snapshot  BYTEA  NOT NULL,
    -- finds the newest not after a moment, and what falls out of the history
    PRIMARY KEY (series_id, as_of)
);

-- Jobs. done, failed and batches_done belong to the batches stored; the rest is
-- what the process that runs the job says.
CREATE TABLE jobs (
    id           TEXT    NOT NULL PRIMARY KEY,
    kind         TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    exchange     TEXT    NOT NULL,
    interval     TEXT    NOT NULL,
    kline_limit  BIGINT  NOT NULL,
    store        BOOLEAN NOT NULL,
    simulated    BOOLEAN NOT NULL,
    symbols      BIGINT  NOT NULL,
    done         BIGINT  NOT NULL,
    failed       BIGINT  NOT NULL,
    skipped      BIGINT  NOT NULL,
    batches      BIGINT  NOT NULL,
    batches_done BIGINT  NOT NULL,
    created_at   BIGINT  NOT NULL,
    started_at   BIGINT, -- NULL until it has
    finished_at  BIGINT, -- NULL until it has
    -- the last sign of life: an open job without one for long has lost its process
    updated_at   BIGINT  NOT NULL,
    error_code   TEXT,   -- NULL unless the job failed
    error_detail TEXT,
    result       BYTEA   -- a snapshot, encoded as in analyses; NULL for most
);

-- the newest jobs first
CREATE INDEX jobs_by_creation ON jobs (created_at, id);

-- The batches that are stored: a batch that runs twice finds its row and leaves
-- everything as it is.
CREATE TABLE job_batches (
    job_id    TEXT   NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    idx       BIGINT NOT NULL,
    stored_at BIGINT NOT NULL,
    PRIMARY KEY (job_id, idx)
);

-- Why symbols were not analysed, in the order in which it was found out.
CREATE TABLE job_outcomes (
    job_id TEXT   NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    kind   TEXT   NOT NULL, -- 'failure' or 'skip'
    batch  BIGINT NOT NULL, -- that a failure came with; -1 for those of the job itself
    pos    BIGINT NOT NULL, -- within the batch
    symbol TEXT   NOT NULL,
    code   TEXT   NOT NULL,
    detail TEXT   NOT NULL,
    PRIMARY KEY (job_id, kind, batch, pos)
);

-- How long an exchange has banned this address; a restart must not forget it.
CREATE TABLE exchange_bans (
    exchange     TEXT   NOT NULL PRIMARY KEY,
    banned_until BIGINT NOT NULL
);
