-- Sweeps that begin by themselves. Every process that works looks at these rows;
-- the one that moves next_run on begins the run, in the same transaction, so that
-- it is begun once however many processes there are, and missed runs leave one.
CREATE TABLE schedules (
    exchange TEXT   NOT NULL,
    interval TEXT   NOT NULL,
    -- as it was configured: a process with another one leaves the row alone
    schedule TEXT   NOT NULL,
    next_run BIGINT NOT NULL,
    -- the last run that was begun; its job may have been pruned since
    last_run BIGINT,
    last_job TEXT,
    -- one schedule for an interval, so that none is left behind that still runs
    PRIMARY KEY (exchange, interval)
);
