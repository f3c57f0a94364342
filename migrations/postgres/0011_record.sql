-- The public record: what became of the levels that were touched, in sums that outlive the
-- events they are made of. An event is added in the transaction that stores it, if its id
-- was not stored before, so that it counts once.
CREATE TABLE record (
    exchange  TEXT    NOT NULL,
    interval  TEXT    NOT NULL,
    simulated BOOLEAN NOT NULL,
    -- days that depend on each other, by scorecard.BlockOf: intervals are made of their spread
    block     BIGINT  NOT NULL,
    role      TEXT    NOT NULL, -- support or resistance
    retest    BOOLEAN NOT NULL, -- from the side to which price had passed it
    hour      BIGINT  NOT NULL, -- of the touch, UTC
    decided   BIGINT  NOT NULL,
    held      BIGINT  NOT NULL, -- of these; the others broke
    -- of those that had odds when they were touched: how many, how many held, and the sums of
    -- their odds and of the hold rates of any line at their distance, in ten-thousandths
    odds      BIGINT  NOT NULL,
    odds_held BIGINT  NOT NULL,
    promised  BIGINT  NOT NULL,
    baseline  BIGINT  NOT NULL,
    PRIMARY KEY (exchange, interval, simulated, block, role, retest, hour)
);
