-- Evaluations by policy, settings, source and difficulty: one row for each, over the problems of that group.
-- pass_1, pass_10 and pass_100 are unbiased means over the problems with enough judged samples, which
-- problems_1, problems_10 and problems_100 count; null where there is none. Standard errors are those of a
-- mean over problems. `distinct_correct` is a mean per problem; `token_entropy` is in nats per token, null
-- where it was not measured. Evaluations with different seeds are separate rows; `pass_at_k` pools them and
-- gives the mean over training seeds.
SELECT
    policy_id, settings, run_id, step, source, difficulty, count(*) AS problems,
    sum(samples)::BIGINT AS samples,
    avg(pass_1) AS pass_1, stddev_samp(pass_1) / sqrt(count(pass_1)) AS pass_1_error,
    count(pass_1) AS problems_1,
    avg(pass_10) AS pass_10, stddev_samp(pass_10) / sqrt(count(pass_10)) AS pass_10_error,
    count(pass_10) AS problems_10,
    avg(pass_100) AS pass_100, stddev_samp(pass_100) / sqrt(count(pass_100)) AS pass_100_error,
    count(pass_100) AS problems_100,
    avg(distinct_correct) FILTER (samples > 0) AS distinct_correct, avg(token_entropy) AS token_entropy,
    sum(judge_errors)::BIGINT AS judge_errors, max(evaluated_at) AS evaluated_at
FROM (
    SELECT
        e.*, p.source, p.difficulty, pass_at(e.samples, e.correct, 1) AS pass_1,
        pass_at(e.samples, e.correct, 10) AS pass_10, pass_at(e.samples, e.correct, 100) AS pass_100
    FROM evaluations e LEFT JOIN problems p USING (problem_id)
)
GROUP BY policy_id, settings, run_id, step, source, difficulty
