-- The same trajectory on the same tests under successive judge versions: one row for each change of version.
-- `changed` says whether the verdict did, `reward_changed` whether it crossed between accepted and not accepted.
-- Versions are in the order they came into use; within one the highest attempt that is no judge error holds.
WITH holding AS (
    SELECT trajectory_id, test_set_hash, judge_version, problem_id, verdict, in_use_since
    FROM verdicts JOIN judge_versions USING (judge_version)
    WHERE verdict <> 'judge_error'
    QUALIFY row_number() OVER (
        PARTITION BY trajectory_id, test_set_hash, judge_version ORDER BY attempt DESC
    ) = 1
),
paired AS (
    SELECT
        trajectory_id, problem_id, test_set_hash,
        lag(judge_version) OVER succession AS from_version, judge_version AS to_version,
        lag(verdict) OVER succession AS from_verdict, verdict AS to_verdict
    FROM holding
    WINDOW succession AS (PARTITION BY trajectory_id, test_set_hash ORDER BY in_use_since, judge_version)
)
SELECT
    *,
    from_verdict <> to_verdict AS changed,
    (from_verdict = 'accepted') <> (to_verdict = 'accepted') AS reward_changed
FROM paired
WHERE from_version IS NOT NULL
