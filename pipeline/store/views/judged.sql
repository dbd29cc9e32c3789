-- Every trajectory that has a verdict, with the verdict that holds: one row a trajectory.
-- Which one holds: a verdict on the problem's present tests before one on older tests, then the judge version that came into
-- use last, then the highest attempt. A judge error is no verdict: a trajectory with nothing else is not in here.
-- Columns: all of `trajectories`; source and split of the problem; verdict, passed, total, first_failure; test_set_hash,
-- judge_version, attempt, cpu_s (seconds), memory_mb (MiB), tier, judged_at, isolated_check (false: a function
-- test that the program could have forged; a corpus leaves those out with `isolated_check is not false`); reward_binary (null for
-- language_unavailable).
WITH versions AS (
    SELECT judge_version, min(judged_at) AS in_use_since FROM verdicts GROUP BY judge_version
),
holding AS (
    SELECT
        v.trajectory_id, v.verdict, v.passed, v.total, v.first_failure, v.test_set_hash, v.judge_version, v.attempt,
        v.cpu_s, v.memory_mb, v.tier, v.judged_at, v.isolated_check, p.source, p.split
    FROM verdicts v
    JOIN versions USING (judge_version)
    LEFT JOIN problems p USING (problem_id)
    WHERE v.verdict <> 'judge_error'
    QUALIFY row_number() OVER (
        PARTITION BY v.trajectory_id
        ORDER BY coalesce(v.test_set_hash = p.test_set_hash, false) DESC, in_use_since DESC, v.judge_version DESC,
                 v.attempt DESC, v.test_set_hash
    ) = 1
)
SELECT
    t.*, h.* EXCLUDE (trajectory_id),
    reward_binary(h.verdict, h.passed, h.total) AS reward_binary
FROM trajectories t
JOIN holding h USING (trajectory_id)
