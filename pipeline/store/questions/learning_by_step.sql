-- Did the policy get better while it trained, by its own samples?
-- By run and policy step: samples judged, and the share accepted. The problems differ from step to step, so look at the trend;
-- for a comparison on the same problems see the table `evaluations`.
SELECT
    run_id, policy_step, count(*) AS samples,
    count(*) FILTER (verdict = 'accepted') / count(*) AS accepted
FROM judged
WHERE policy_step IS NOT NULL AND reward_binary IS NOT NULL
GROUP BY run_id, policy_step
ORDER BY run_id, policy_step
