-- What known programs say of each problem's tests: one row a problem, and a corpus filters on `flag IS NULL`.
-- Known right are programs that their source calls accepted; known wrong those it calls anything else but a time-out, which no
-- other machine need confirm. Counted are those with a verdict that is a label. `right_passed` and `wrong_failed` are shares,
-- null where there is no such program. `flag`, the first that holds:
--   no tests, no checker       nothing can be judged
--   right programs fail        not one of the known right passes, or of three and more less than half: broken tests or limits
--   several answers            two and more of the known right get a wrong answer: a checker is missing
--   limit too tight            a quarter and more of the known right take too long
--   wrong programs pass        of two and more known wrong, less than half fail: the tests are too weak
WITH known AS (
    SELECT
        problem_id,
        count(*) FILTER (claimed_verdict = 'accepted') AS known_right,
        count(*) FILTER (claimed_verdict = 'accepted' AND verdict = 'accepted') AS passed,
        count(*) FILTER (claimed_verdict = 'accepted' AND verdict = 'wrong_answer') AS contradicted,
        count(*) FILTER (claimed_verdict = 'accepted' AND verdict = 'time_limit_exceeded') AS too_slow,
        count(*) FILTER (claimed_verdict NOT IN ('accepted', 'time_limit_exceeded')) AS known_wrong,
        count(*) FILTER (claimed_verdict NOT IN ('accepted', 'time_limit_exceeded') AND verdict <> 'accepted') AS failed
    FROM judged
    WHERE claimed_verdict IS NOT NULL AND reward_binary IS NOT NULL
    GROUP BY problem_id
)
SELECT
    p.problem_id, p.source, p.split, p.checker, p.test_count, p.tests_quality,
    coalesce(known_right, 0) AS known_right,
    passed / nullif(known_right, 0) AS right_passed,
    coalesce(known_wrong, 0) AS known_wrong,
    failed / nullif(known_wrong, 0) AS wrong_failed,
    CASE
        WHEN p.test_count = 0 THEN 'no tests'
        WHEN p.checker = 'custom' AND coalesce(len(list_filter(
            from_json(p.programs, '[{"role": "VARCHAR", "interface": "VARCHAR"}]'),
            lambda x: x.role IN ('checker', 'interactor') AND x.interface IN ('testlib', 'output_validator')
        )), 0) = 0 THEN 'no checker'
        WHEN known_right > 0 AND passed = 0 OR known_right >= 3 AND 2 * passed < known_right THEN 'right programs fail'
        WHEN contradicted >= 2 THEN 'several answers'
        WHEN known_right > 0 AND 4 * too_slow >= known_right THEN 'limit too tight'
        WHEN known_wrong >= 2 AND 2 * failed < known_wrong THEN 'wrong programs pass'
    END AS flag
FROM problems p
LEFT JOIN known USING (problem_id)
