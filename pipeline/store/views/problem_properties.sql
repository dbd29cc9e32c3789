-- Properties of problems by which results are split: one row per (problem_id, property).
-- contest_month: YYYY-MM of its contest, or unknown. contamination: of the problems of the latest
-- decontamination pass, `leaked` if another problem or a trajectory of the store gives it away, else `clean`;
-- of the others `unchecked`. tests_origin: who made its tests (`tests.origin`, or their kind where that is
-- unknown), joined by +, or none.
WITH checked AS (
    SELECT unnest(evaluation_problems) AS problem_id
    FROM decontaminations
    WHERE pass_number = (SELECT max(pass_number) FROM decontaminations)
),
origins AS (
    SELECT problem_id, string_agg(DISTINCT coalesce(origin, kind), '+' ORDER BY coalesce(origin, kind)) AS origins
    FROM current_tests
    GROUP BY problem_id
)
SELECT problem_id, 'contest_month' AS property, coalesce(left(contest_date, 7), 'unknown') AS value
FROM problems
UNION ALL
SELECT
    problem_id, 'contamination',
    CASE
        WHEN problem_id NOT IN (SELECT problem_id FROM checked) THEN 'unchecked'
        WHEN problem_id IN (SELECT evaluation_problem_id FROM contaminated WHERE evidence <> 'itself') THEN 'leaked'
        ELSE 'clean'
    END
FROM problems
UNION ALL
SELECT problem_id, 'tests_origin', coalesce(origins, 'none')
FROM problems LEFT JOIN origins USING (problem_id)
