-- Evaluations of a policy on each problem: one row per (policy_id, settings, problem_id).
-- `settings` is the JSON object without its seed and with sorted keys: evaluations that differ in the seed
-- alone are pooled, since their samples come from one distribution. Text that is not a JSON object is
-- compared as it is. `samples` counts samples with a verdict and `judge_errors` those without;
-- `distinct_correct` is a mean over the evaluations, null where no sample has a verdict. The rules are those
-- of `pipeline/evaluation/aggregate.py`.
WITH seedless AS (
    SELECT * REPLACE (
        CASE WHEN json_valid(settings) AND json_type(settings) = 'OBJECT' THEN
            '{' || array_to_string(list_transform(
                list_sort(list_filter(json_keys(settings), lambda name: name <> 'seed')),
                lambda name: to_json(name) || ': '
                    || json_extract(settings, '/' || replace(replace(name, '~', '~0'), '/', '~1'))
            ), ', ') || '}'
        ELSE settings END AS settings
    )
    FROM evaluations
)
SELECT
    policy_id, settings, problem_id, any_value(split) AS split,
    sum(samples)::BIGINT AS samples, sum(correct)::BIGINT AS correct,
    sum(judge_errors)::BIGINT AS judge_errors,
    avg(distinct_correct) FILTER (samples > 0) AS distinct_correct,
    count(*) AS evaluations, max(evaluated_at) AS evaluated_at
FROM seedless
GROUP BY policy_id, settings, problem_id
