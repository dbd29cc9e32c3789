-- Evaluations by policy, settings, source and difficulty: one row for each, over the problems of that group.
-- pass_1, pass_10 and pass_100 are unbiased means over problems (null where a problem has fewer samples) with their standard
-- errors; `distinct_correct` is a mean a problem, `token_entropy` in nats a token, null where it was not measured.
SELECT
    e.policy_id, e.settings, e.run_id, e.step, p.source, p.difficulty, count(*) AS problems,
    sum(e.samples)::BIGINT AS samples,
    avg(pass_at(e.samples, e.correct, 1)) AS pass_1,
    stddev_samp(pass_at(e.samples, e.correct, 1)) / sqrt(count(*)) AS pass_1_error,
    CASE WHEN min(e.samples) >= 10 THEN avg(pass_at(e.samples, e.correct, 10)) END AS pass_10,
    CASE WHEN min(e.samples) >= 10 THEN stddev_samp(pass_at(e.samples, e.correct, 10)) / sqrt(count(*)) END AS pass_10_error,
    CASE WHEN min(e.samples) >= 100 THEN avg(pass_at(e.samples, e.correct, 100)) END AS pass_100,
    avg(e.distinct_correct) AS distinct_correct, avg(e.token_entropy) AS token_entropy,
    sum(e.judge_errors)::BIGINT AS judge_errors, max(e.evaluated_at) AS evaluated_at
FROM evaluations e
LEFT JOIN problems p USING (problem_id)
GROUP BY e.policy_id, e.settings, e.run_id, e.step, p.source, p.difficulty
