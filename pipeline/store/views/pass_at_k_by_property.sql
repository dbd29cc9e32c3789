-- `pass_at_k` of evaluated policies, split by a property of the problems (`problem_properties`): contest month,
-- contamination, provenance of the tests. One row per (policy, settings, property, value, k); the columns are
-- those of `pass_at_k`. A fall after a month, or from leaked to clean, is a sign of memorised problems.
SELECT
    policy, settings, property, value, k,
    count(pass_at_k) AS problems,
    count(*) - count(pass_at_k) AS left_out,
    avg(pass_at_k) AS pass_at_k,
    stddev_samp(pass_at_k) / sqrt(count(pass_at_k)) AS standard_error
FROM problem_pass_at_k JOIN problem_properties USING (problem_id)
GROUP BY policy, settings, property, value, k
HAVING count(pass_at_k) > 0
