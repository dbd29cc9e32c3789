-- Unbiased pass@k of each evaluated problem for k = 1, 10, 100: one row per (policy, settings, problem_id,
-- k). `policy` is a policy, or a run over its seeds: NAME stands for all policies NAME/seed-0, NAME-seed-1,
-- ... (with @STEP kept), unless a policy has that very name. `policies` lists the policies behind a row. Over
-- seeds it is the mean of their pass@k, null unless every seed has at least k judged samples of the problem.
WITH each_policy AS (
    SELECT
        policy_id, settings, problem_id, k, pass_at(samples, correct, k) AS pass,
        regexp_replace(policy_id, '[/_.-]seed[-_]?[0-9]+(@[0-9]+)?$', '\1') AS run_name
    FROM evaluated_problems, (SELECT unnest([1, 10, 100]) AS k)
),
named AS (
    SELECT policy_id AS policy, * FROM each_policy
    UNION ALL
    SELECT run_name AS policy, * FROM each_policy WHERE run_name NOT IN (SELECT policy_id FROM evaluations)
),
members AS (
    SELECT policy, settings, list_sort(list(DISTINCT policy_id)) AS policies
    FROM named
    GROUP BY policy, settings
)
SELECT
    policy, settings, problem_id, k, any_value(m.policies) AS policies,
    CASE WHEN count(pass) = any_value(len(m.policies)) THEN avg(pass) END AS pass_at_k
FROM named JOIN members m USING (policy, settings)
GROUP BY policy, settings, problem_id, k
