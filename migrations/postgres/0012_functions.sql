-- The queries of every analysis. In a function the server keeps their plan for each of its
-- connections, through a pooler too: to plan them takes four to ten times as long as to run
-- them. SQLite has no such functions; there repository holds the same queries.

-- The blocks of candles of a series, beginning with the one that contains a time, Unix ms, or
-- else the last one before it.
CREATE FUNCTION kept_blocks(of_exchange TEXT, of_interval TEXT, of_symbol TEXT, since BIGINT)
RETURNS TABLE (covered_from BIGINT, simulated BOOLEAN, block BYTEA) LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    of_series BIGINT;
BEGIN
    SELECT id INTO of_series FROM series
        WHERE exchange = of_exchange AND interval = of_interval AND symbol = of_symbol;
    RETURN QUERY SELECT covered_from, simulated, block FROM candles
        WHERE series_id = of_series
            AND span >= COALESCE((SELECT MAX(span) FROM candles WHERE series_id = of_series AND span <= since), 0)
        ORDER BY span;
END $$;

-- The newest analysis of a series not after a time, Unix ms, when the pair was delisted and
-- how the exchange writes it, and the state of the levels.
CREATE FUNCTION newest_analysis(of_exchange TEXT, of_interval TEXT, of_symbol TEXT, until BIGINT)
RETURNS TABLE (snapshot BYTEA, delisted_at BIGINT, name TEXT, state BYTEA) LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT a.snapshot, s.delisted_at, p.name, w.state FROM series s JOIN analyses a ON a.series_id = s.id
            LEFT JOIN pairs p ON p.exchange = s.exchange AND p.symbol = s.symbol
            LEFT JOIN watches w ON w.series_id = s.id
        WHERE s.exchange = of_exchange AND s.interval = of_interval AND s.symbol = of_symbol
            AND a.as_of = (SELECT MAX(k.as_of) FROM analyses k WHERE k.series_id = s.id AND k.as_of <= until);
END $$;

-- The promise of a series, if it was made not after a time, Unix ms.
CREATE FUNCTION due_promise(of_exchange TEXT, of_interval TEXT, of_symbol TEXT, until BIGINT)
RETURNS TABLE (as_of BIGINT, promise BYTEA) LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT p.as_of, p.promise FROM series s JOIN promises p ON p.series_id = s.id
        WHERE s.exchange = of_exchange AND s.interval = of_interval AND s.symbol = of_symbol AND p.as_of <= until;
END $$;
