-- Unbiased pass@k (Chen et al. 2021, arXiv 2107.03374) of evaluated policies: one row per (policy, settings,
-- k), k = 1, 10, 100. The same figures as `spo eval` (one policy) and as `spo eval --compare` and the report
-- (`policy` is also a run over its `seeds`, see `problem_pass_at_k`). `settings` are those of the evaluation
-- without its seed. The mean is over problems for which each seed has at least k judged samples (`problems`);
-- the others are counted in `left_out`. `standard_error` is that of a mean over problems; null for a single
-- problem. It does not cover seeds: the bootstrap does.
SELECT
    policy, settings, k, any_value(len(policies)) AS seeds,
    count(pass_at_k) AS problems,
    count(*) - count(pass_at_k) AS left_out,
    avg(pass_at_k) AS pass_at_k,
    stddev_samp(pass_at_k) / sqrt(count(pass_at_k)) AS standard_error
FROM problem_pass_at_k
GROUP BY policy, settings, k
HAVING count(pass_at_k) > 0
