-- Which of two evaluated policies is better, problem by problem?
-- Every pair of policies evaluated on the same problems under the same settings (but the seed): the change of pass@1 and pass@10
-- from policy_a to policy_b, each with the standard error of the paired difference, and how many problems b solves that a does
-- not, and the other way round. `spo eval --compare A B` gives bootstrap intervals.
WITH seedless AS (
    SELECT
        policy_id, regexp_replace(settings, '"seed": -?[0-9]+(, )?', '') AS comparable, problem_id,
        sum(samples) AS samples, sum(correct) AS correct
    FROM evaluations
    GROUP BY ALL
)
SELECT
    a.policy_id AS policy_a, b.policy_id AS policy_b, count(*) AS problems,
    avg(pass_at(b.samples, b.correct, 1) - pass_at(a.samples, a.correct, 1)) AS pass_1_change,
    stddev_samp(pass_at(b.samples, b.correct, 1) - pass_at(a.samples, a.correct, 1)) / sqrt(count(*)) AS pass_1_error,
    avg(pass_at(b.samples, b.correct, 10) - pass_at(a.samples, a.correct, 10)) AS pass_10_change,
    stddev_samp(pass_at(b.samples, b.correct, 10) - pass_at(a.samples, a.correct, 10)) / sqrt(count(*)) AS pass_10_error,
    count(*) FILTER (b.correct > 0 AND a.correct = 0) AS only_b_solves,
    count(*) FILTER (a.correct > 0 AND b.correct = 0) AS only_a_solves
FROM seedless a
JOIN seedless b ON a.problem_id = b.problem_id AND a.comparable = b.comparable AND a.policy_id < b.policy_id
GROUP BY a.policy_id, b.policy_id, a.comparable
ORDER BY abs(pass_1_change) DESC, policy_a, policy_b
