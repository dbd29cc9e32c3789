-- Which problems are in more than one source?
-- Pairs of sources that hold the same problem, the closest tie between them, and one such problem. Needs a decontamination pass,
-- which looks for them.
SELECT
    a.source AS source, b.source AS other_source, mode(greatest(x.tie, y.tie)) AS usual_tie,
    count(DISTINCT x.cluster_id) AS problems, min(x.problem_id || ' = ' || y.problem_id) AS one_of_them
FROM problem_clusters x
JOIN problem_clusters y ON x.cluster_id = y.cluster_id AND x.problem_id < y.problem_id
JOIN problems a ON a.problem_id = x.problem_id
JOIN problems b ON b.problem_id = y.problem_id
WHERE a.source <> b.source
GROUP BY a.source, b.source
ORDER BY problems DESC, source, other_source
