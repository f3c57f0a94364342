-- Jobs become durable: the queue that hands their work out (River, in tables of
-- its own) outlives the process, and any process on this database may work.

-- What the job does, as a hash of exchange, interval and parameters; NULL for
-- jobs that never were open.
ALTER TABLE jobs ADD COLUMN work TEXT;

-- Asking twice for the same work joins, in whichever process; also finds how
-- many jobs are open without reading those that have ended.
CREATE UNIQUE INDEX jobs_open_work ON jobs (work) WHERE state IN ('queued', 'running');

-- finds what is old enough to be pruned
CREATE INDEX jobs_by_end ON jobs (finished_at);

-- Jobs left open by a version without a queue: nothing would ever run them.
UPDATE jobs SET state = 'failed', finished_at = updated_at, error_code = 'interrupted',
    error_detail = 'the process that ran the job was replaced by a newer version'
WHERE state IN ('queued', 'running');

-- The processes that work, each touching its row every two seconds by the
-- database's clock. What a process has taken from the queue is handed out again
-- once its row is ten seconds old, which the next one to look deletes.
CREATE TABLE processes (
    id      TEXT   NOT NULL PRIMARY KEY,
    seen_at BIGINT NOT NULL
);
