-- How do programs of each origin fail?
-- One row an (origin, verdict) with its share within the origin. Many compile_error or runtime_error point at the extraction of
-- programs or at a missing library; many time_limit_exceeded at slow hardware or at tight limits.
SELECT
    origin, verdict, count(*) AS trajectories,
    count(*) / sum(count(*)) OVER (PARTITION BY origin) AS share
FROM judged
GROUP BY origin, verdict
ORDER BY origin, trajectories DESC, verdict
