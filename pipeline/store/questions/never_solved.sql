-- Which problems did nobody solve, in spite of many samples?
-- Problems without any accepted trajectory, the most tried first. They give a policy no positive signal; where humans are
-- among those who failed (`human_samples`), suspect the tests or the checker before the solvers.
SELECT
    problem_id, any_value(source) AS source,
    sum(samples)::BIGINT AS samples,
    coalesce(sum(samples) FILTER (origin = 'human'), 0)::BIGINT AS human_samples
FROM problem_success
GROUP BY problem_id
HAVING sum(successes) = 0
ORDER BY samples DESC, problem_id
