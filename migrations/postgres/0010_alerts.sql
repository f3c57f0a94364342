-- What turns events into messages. Times are Unix ms.

-- The one row that dispatching processes lock: the number of the last event that was turned
-- into messages, and a number that grows whenever rules or receivers change.
CREATE TABLE alert_state (
    id       INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    position BIGINT  NOT NULL,
    revision BIGINT  NOT NULL
);
INSERT INTO alert_state (id, position, revision) VALUES (1, 0, 0);

-- Rules, silences and watchlists: few rows, read whole when the revision has changed.
CREATE TABLE alert_entries (
    kind       TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    body       BYTEA   NOT NULL, -- the JSON of the API
    from_file  BOOLEAN NOT NULL,
    created_at BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL,
    PRIMARY KEY (kind, id),
    UNIQUE (kind, name)
);

CREATE TABLE receivers (
    id            TEXT    NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL UNIQUE,
    kind          TEXT    NOT NULL,
    sealed        BYTEA   NOT NULL, -- its configuration, encrypted
    shown         BYTEA   NOT NULL, -- what may be shown of it, JSON
    per_minute    INTEGER NOT NULL,
    notices_to    TEXT    NOT NULL,
    from_file     BOOLEAN NOT NULL,
    created_at    BIGINT  NOT NULL,
    updated_at    BIGINT  NOT NULL,
    succeeded_at  BIGINT, -- last
    failing_since BIGINT,
    disabled_at   BIGINT,
    disabled_why  TEXT    NOT NULL,
    retry_at      BIGINT, -- before it the receiver wants no messages
    quick         BOOLEAN NOT NULL,
    -- messages of a minute, a number of them since 1970
    minute        BIGINT  NOT NULL DEFAULT 0,
    spent         INTEGER NOT NULL DEFAULT 0
);

-- Names of rules and receivers are kept, because a delivery outlives them.
CREATE TABLE deliveries (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message       TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    rule          TEXT    NOT NULL,
    rule_name     TEXT    NOT NULL,
    receiver      TEXT    NOT NULL,
    receiver_name TEXT    NOT NULL,
    gathers       TEXT    UNIQUE, -- key of the group while it gathers
    state         TEXT    NOT NULL,
    created_at    BIGINT  NOT NULL,
    due_at        BIGINT, -- NULL of a pending one: it waits for an earlier one
    queued_at     BIGINT, -- when it ceased to gather, or was sent again
    expires_at    BIGINT,
    begun_at      BIGINT, -- the first attempt
    final_at      BIGINT,
    events        INTEGER NOT NULL,
    left_out      INTEGER NOT NULL,
    type          TEXT    NOT NULL,
    title         TEXT    NOT NULL,
    text          TEXT    NOT NULL,
    body          BYTEA,
    attempts      INTEGER NOT NULL,
    log           BYTEA,
    error         TEXT    NOT NULL
);

-- the few that are not final, for dispatching and for what waits
CREATE INDEX deliveries_open ON deliveries (receiver, state) WHERE final_at IS NULL;
-- those of a receiver, newest first, and those that may be pruned
CREATE INDEX deliveries_by_receiver ON deliveries (receiver, created_at);
CREATE INDEX deliveries_by_end ON deliveries (final_at);

CREATE TABLE delivery_events (
    delivery BIGINT NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    seq      BIGINT NOT NULL, -- of events, which may be pruned before
    level    TEXT   NOT NULL,
    symbol   TEXT   NOT NULL,
    PRIMARY KEY (delivery, seq)
);

-- messages about a level are delivered in order
CREATE INDEX delivery_events_by_level ON delivery_events (level, delivery);
