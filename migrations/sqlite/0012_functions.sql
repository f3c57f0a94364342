-- Functions on PostgreSQL only. There is nothing to change here.
SELECT 1;
