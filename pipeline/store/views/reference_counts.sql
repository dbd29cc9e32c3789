-- Trials and successes of each policy on each problem: what the soft value Q0 of a prompt under that policy is made from.
-- Q0 is an expectation over the policy itself, so only samples drawn at temperature 1 without a nucleus (top_p 1) are trials;
-- `left_out` counts that policy's judged samples at any other or unknown setting. Identical samples are separate trials:
-- deduplication must never touch this. Judge errors and unavailable languages are no trials.
SELECT
    problem_id, policy_id,
    count(*) FILTER (temperature = 1 AND top_p = 1) AS trials,
    count(*) FILTER (temperature = 1 AND top_p = 1 AND verdict = 'accepted') AS successes,
    count(*) - trials AS left_out
FROM judged
WHERE reward_binary IS NOT NULL
GROUP BY problem_id, policy_id
