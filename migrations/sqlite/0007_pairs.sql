-- The pairs of each exchange, as its list showed them when a sweep was last planned. Pairs
-- that are no longer listed stay, so that their stored analyses are found by every name.
CREATE TABLE pairs (
    exchange      TEXT    NOT NULL,
    symbol        TEXT    NOT NULL, -- the exchange's id
    name          TEXT    NOT NULL, -- canonical: BASE/QUOTE or BASE/QUOTE:SETTLE
    base          TEXT    NOT NULL,
    quote         TEXT    NOT NULL,
    settle        TEXT    NOT NULL, -- empty for spot
    kind          TEXT    NOT NULL, -- spot or swap
    tick_units    BIGINT  NOT NULL, -- the price step is tick_units × 10^-tick_decimals; 0: unknown
    tick_decimals BIGINT  NOT NULL,
    digits        BIGINT  NOT NULL, -- significant digits of a price without a step; 0: it has one
    active        BOOLEAN NOT NULL, -- listed and trading
    delisted_at   BIGINT,           -- when a plan found that it is not; NULL while it is
    PRIMARY KEY (exchange, symbol)
);

-- names are looked up on all exchanges
CREATE INDEX pairs_by_symbol ON pairs (symbol);
CREATE INDEX pairs_by_name ON pairs (name);

-- finds BTCUSDT where the exchange says BTC-USDT
CREATE INDEX pairs_by_assets ON pairs ((base || quote));
