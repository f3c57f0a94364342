-- The processes that keep the pairs of an exchange live. Each says so every few seconds;
-- the others take over the pairs of one that is silent.
CREATE TABLE live_keepers (
    exchange TEXT   NOT NULL,
    process  TEXT   NOT NULL,
    seen_at  BIGINT NOT NULL, -- Unix ms, by the clock of the database
    PRIMARY KEY (exchange, process)
);
