-- Since when the exchange no longer lists the pair of a series, or not as trading; NULL
-- while it does. Every series of a pair has the same.
ALTER TABLE series ADD COLUMN delisted_at BIGINT;
