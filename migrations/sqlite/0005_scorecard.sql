-- The live scorecard: what the odds given out have promised, and what became of it.

-- The promise of a series: its analysis that is to be judged once the horizon has
-- passed, 168 candles later. At most one of a series, so that what is judged does
-- not overlap. It is not looked up in the history of analyses, which may be
-- shorter than the horizon.
CREATE TABLE promises (
    series_id BIGINT NOT NULL PRIMARY KEY REFERENCES series (id) ON DELETE CASCADE,
    -- the moment of the analysis: who deletes the promise of this moment counts it
    as_of     BIGINT NOT NULL,
    -- prices and odds of the levels and where they come from, as in
    -- repository/scorecards.go: some 500 bytes, written and read whole
    promise   BLOB   NOT NULL
);

-- A scorecard for what can be compared: one exchange and interval, one algorithm and
-- table of odds, a real market or a simulated one. A few dozen rows in all.
CREATE TABLE scorecards (
    id          INTEGER PRIMARY KEY,
    exchange    TEXT    NOT NULL,
    interval    TEXT    NOT NULL,
    algorithm   TEXT    NOT NULL,
    odds_table  TEXT    NOT NULL,
    simulated   BOOLEAN NOT NULL,
    -- moments of the first and the last promise that was due
    first_as_of BIGINT  NOT NULL,
    last_as_of  BIGINT  NOT NULL,
    -- promises judged; and those that could not be, as candles are missing
    moments     BIGINT  NOT NULL,
    skipped     BIGINT  NOT NULL,
    UNIQUE (exchange, interval, algorithm, odds_table, simulated)
);

-- Sums of a scorecard, a row for each bin of odds: what a mean, a Brier score and a
-- calibration error are made of.
CREATE TABLE scores (
    scorecard_id BIGINT NOT NULL REFERENCES scorecards (id) ON DELETE CASCADE,
    -- 'touch': all levels; 'hold': those whose outcome was decided
    kind         TEXT   NOT NULL,
    bin          BIGINT NOT NULL,
    samples      BIGINT NOT NULL,
    realised     BIGINT NOT NULL, -- that were touched, that held
    promised     DOUBLE PRECISION NOT NULL, -- sum of the odds
    missed       DOUBLE PRECISION NOT NULL, -- sum of (odds - outcome)², outcome 1 or 0
    PRIMARY KEY (scorecard_id, kind, bin)
);
