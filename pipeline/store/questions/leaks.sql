-- What would give the evaluation set away, and how many trajectories hang on it?
-- By source of the training data and evidence, as the latest `spo decontaminate` found it: problems and trajectories marked, and all
-- trajectories that a corpus of `clean_trajectories` leaves out for it. Problems of the evaluation set itself are not counted.
SELECT
    p.source, c.kind, c.evidence,
    count(DISTINCT c.subject_id) AS marked,
    count(DISTINCT c.evaluation_problem_id) AS evaluation_problems,
    count(DISTINCT t.trajectory_id) AS trajectories,
    first(c.subject_id || ' ~ ' || c.evaluation_problem_id ORDER BY c.overlap DESC, c.subject_id) AS clearest
FROM contaminated c
JOIN problems p ON p.problem_id = c.problem_id
LEFT JOIN trajectories t ON t.problem_id = c.subject_id OR t.trajectory_id = c.subject_id
WHERE c.evidence <> 'itself'
GROUP BY p.source, c.kind, c.evidence
ORDER BY trajectories DESC, p.source, c.kind, c.evidence
