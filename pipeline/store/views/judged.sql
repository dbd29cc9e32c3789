-- Every trajectory that has a verdict, with the verdict that holds: one row a trajectory.
-- Which one holds: a verdict on the problem's present tests before one on older tests, then the judge version that came into
-- use last, then the highest attempt, of equal ones the later. A judge error is no verdict: a trajectory with nothing else is
-- not in here.
-- Columns: all of `trajectories`; source and split of the problem; verdict, passed, total, first_failure; test_set_hash,
-- judge_version, attempt, cpu_s (seconds), memory_mb (MiB), tier, judged_at, isolated_check (false: a function
-- test that the program could have forged; a corpus leaves those out with `isolated_check is not false`); score
-- (points, null for problems without them); reward_binary (null for language_unavailable).
-- A completion that was cut at the length limit (finish_reason `length`) has failed, whatever its program does: its `passed`
-- and `score` are 0, and an accepted program of one is a wrong answer. `cut` says so, and `program_verdict` is what the judge
-- found. `all_tests_run`: whether every test has a result, or none is needed: accepted, cut, no program, or not compiled;
-- else the judge stopped at the first failure.
WITH holding AS (
    SELECT
        v.trajectory_id, v.verdict, v.passed, v.total, v.first_failure, v.test_set_hash, v.judge_version, v.attempt,
        v.cpu_s, v.memory_mb, v.tier, v.judged_at, v.isolated_check, v.score, p.source, p.split,
        v.verdict IN ('accepted', 'compile_error', 'no_program', 'language_unavailable')
            OR len(v.tests) >= v.total AS complete
    FROM verdicts v
    JOIN judge_versions USING (judge_version)
    LEFT JOIN problems p USING (problem_id)
    WHERE v.verdict <> 'judge_error'
    QUALIFY row_number() OVER (
        PARTITION BY v.trajectory_id
        ORDER BY coalesce(v.test_set_hash = p.test_set_hash, false) DESC, in_use_since DESC, v.judge_version DESC,
                 v.attempt DESC, v.test_set_hash, v.judged_at DESC, v.verdict
    ) = 1
)
SELECT
    t.*,
    h.* EXCLUDE (trajectory_id, verdict, passed, score, complete),
    coalesce(t.finish_reason = 'length', false) AS cut,
    CASE WHEN cut AND h.verdict = 'accepted' THEN 'wrong_answer' ELSE h.verdict END AS verdict,
    CASE WHEN cut THEN 0 ELSE h.passed END AS passed,
    CASE WHEN cut AND h.score IS NOT NULL THEN 0 ELSE h.score END AS score,
    h.verdict AS program_verdict,
    h.complete OR cut AS all_tests_run,
    reward_binary(
        CASE WHEN cut AND h.verdict = 'accepted' THEN 'wrong_answer' ELSE h.verdict END, h.passed, h.total
    ) AS reward_binary
FROM trajectories t
JOIN holding h USING (trajectory_id)
