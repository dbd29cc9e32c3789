-- Which policy solves most, at one try and at ten?
-- Unbiased pass@1 and pass@10 over all judged samples by policy and origin, the best first. Compare only rows
-- over the same problems: `problems_1` and `problems_10` count those with enough samples. pass_10 is null
-- where no problem has ten. For policies that were evaluated on one problem set, ask `pass_at_k`.
SELECT
    policy_id, origin,
    max(pass_at_k) FILTER (k = 1) AS pass_1, max(problems) FILTER (k = 1) AS problems_1,
    max(pass_at_k) FILTER (k = 10) AS pass_10, max(problems) FILTER (k = 10) AS problems_10
FROM pass_at_k_of_samples
GROUP BY policy_id, origin
ORDER BY pass_1 DESC, policy_id, origin
