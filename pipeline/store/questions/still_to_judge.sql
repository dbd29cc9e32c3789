-- What has no verdict yet, and why?
-- One row an (origin, language, state): `not judged` waits for a labelling run; `judge error` was tried and failed on our side,
-- `attempts` times at most: those are retried, and never count as a reward.
SELECT
    t.origin, t.language,
    CASE WHEN v.attempts IS NULL THEN 'not judged' ELSE 'judge error' END AS state,
    count(*) AS trajectories,
    max(v.attempts) AS attempts
FROM trajectories t
LEFT JOIN (SELECT trajectory_id, max(attempt) AS attempts FROM verdicts GROUP BY trajectory_id) v USING (trajectory_id)
WHERE t.trajectory_id NOT IN (SELECT trajectory_id FROM judged)
GROUP BY ALL
ORDER BY trajectories DESC, t.origin, t.language, state
