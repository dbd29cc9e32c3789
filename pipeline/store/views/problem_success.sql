-- How often each policy solves each problem, by origin: one row a (problem, policy, origin).
-- Every sample with a reward counts, duplicates too; judge errors and unavailable languages do not.
SELECT
    problem_id, policy_id, origin, any_value(source) AS source, any_value(split) AS split,
    count(*) AS samples,
    count(*) FILTER (verdict = 'accepted') AS successes,
    count(*) FILTER (verdict = 'accepted') / count(*) AS rate
FROM judged
WHERE reward_binary IS NOT NULL
GROUP BY problem_id, policy_id, origin
