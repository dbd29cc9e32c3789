-- Unbiased pass@k (Chen et al. 2021, arXiv 2107.03374) of each policy and origin for k = 1, 10, 100: one row for each.
-- The mean is over the problems with at least k samples (`problems`); the others (`left_out`) have no unbiased estimate.
-- `standard_error` is that of a mean over problems; null for a single problem. Temperatures are not told apart here.
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
