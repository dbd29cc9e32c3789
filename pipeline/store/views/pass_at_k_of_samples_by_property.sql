-- `pass_at_k_of_samples`, over all judged samples, split by a property of the problems
-- (`problem_properties`): contest month, contamination, provenance of the tests. One row per (policy_id,
-- origin, property, value, k).
SELECT
    policy_id, origin, property, value, k,
    count(pass) AS problems,
    count(*) - count(pass) AS left_out,
    avg(pass) AS pass_at_k,
    stddev_samp(pass) / sqrt(count(pass)) AS standard_error
FROM (
    SELECT policy_id, origin, property, value, k, pass_at(samples, successes, k) AS pass
    FROM problem_success JOIN problem_properties USING (problem_id), (SELECT unnest([1, 10, 100]) AS k)
)
GROUP BY policy_id, origin, property, value, k
HAVING count(pass) > 0
