-- What is in the store?
-- One row an origin: trajectories, the problems they try, how many were judged, and accepted. `judged` below `trajectories` is
-- work still to be done, a judge error, or an origin nobody labels; `accepted` counts the verdict that holds.
SELECT
    origin,
    count(*) AS trajectories,
    count(DISTINCT t.problem_id) AS problems,
    count(j.verdict) AS judged,
    count(*) FILTER (j.verdict = 'accepted') AS accepted
FROM trajectories t
LEFT JOIN (SELECT trajectory_id, verdict FROM judged) j USING (trajectory_id)
GROUP BY origin
ORDER BY origin
