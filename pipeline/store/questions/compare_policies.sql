-- Which of two evaluated policies is better, problem by problem?
-- Every pair of policies, or of runs over their seeds, evaluated on the same problems under the same settings
-- (but the seed): the change of pass@1 and pass@10 from policy_a to policy_b, each with the standard error of
-- the paired difference over problems and the number of problems that have it on both sides. `only_b_solves`
-- counts problems that b solves and a does not, and the other way round. `spo eval --compare A B` gives
-- bootstrap intervals, over seeds too.
WITH wide AS (
    SELECT
        policy, settings, problem_id, any_value(policies) AS policies,
        any_value(pass_at_k) FILTER (k = 1) AS pass_1, any_value(pass_at_k) FILTER (k = 10) AS pass_10
    FROM problem_pass_at_k
    GROUP BY policy, settings, problem_id
)
SELECT
    a.policy AS policy_a, b.policy AS policy_b,
    count(a.pass_1 + b.pass_1) AS problems,
    avg(b.pass_1 - a.pass_1) AS pass_1_change,
    stddev_samp(b.pass_1 - a.pass_1) / sqrt(count(a.pass_1 + b.pass_1)) AS pass_1_error,
    count(a.pass_10 + b.pass_10) AS problems_10,
    avg(b.pass_10 - a.pass_10) AS pass_10_change,
    stddev_samp(b.pass_10 - a.pass_10) / sqrt(count(a.pass_10 + b.pass_10)) AS pass_10_error,
    count(*) FILTER (b.pass_1 > 0 AND a.pass_1 = 0) AS only_b_solves,
    count(*) FILTER (a.pass_1 > 0 AND b.pass_1 = 0) AS only_a_solves
FROM wide a
JOIN wide b ON a.problem_id = b.problem_id AND a.settings = b.settings AND a.policy < b.policy
    AND NOT list_has_any(a.policies, b.policies)
GROUP BY a.policy, b.policy, a.settings
ORDER BY abs(pass_1_change) DESC, policy_a, policy_b
