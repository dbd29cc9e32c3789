-- Unbiased pass@k (Chen et al. 2021, arXiv 2107.03374) over all judged samples of a policy and origin, for k
-- = 1, 10, 100. It needs no evaluation, so it covers ingested policies too, and it mixes temperatures, splits
-- and training rollouts. For evaluations, and for the figures of `spo eval` and the report, use `pass_at_k`.
-- The mean is over problems with at least k judged samples (`problems`); the others are counted in
-- `left_out`. `standard_error` is that of a mean over problems; null for a single problem.
SELECT
    policy_id, origin, k,
    count(pass) AS problems,
    count(*) - count(pass) AS left_out,
    avg(pass) AS pass_at_k,
    stddev_samp(pass) / sqrt(count(pass)) AS standard_error
FROM (
    SELECT policy_id, origin, k, pass_at(samples, successes, k) AS pass
    FROM problem_success, (SELECT unnest([1, 10, 100]) AS k)
)
GROUP BY policy_id, origin, k
HAVING count(pass) > 0
