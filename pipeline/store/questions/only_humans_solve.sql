-- Which problems did humans solve and every policy fail?
-- Here stored human programs teach what sampling cannot find: the case for mixing human data in. `policy_samples` says how
-- hard the policies tried.
SELECT
    problem_id, any_value(source) AS source,
    (sum(successes) FILTER (origin = 'human'))::BIGINT AS human_successes,
    (sum(samples) FILTER (origin <> 'human'))::BIGINT AS policy_samples
FROM problem_success
GROUP BY problem_id
HAVING sum(successes) FILTER (origin = 'human') > 0
   AND sum(samples) FILTER (origin <> 'human') > 0
   AND sum(successes) FILTER (origin <> 'human') = 0
ORDER BY policy_samples DESC, problem_id
