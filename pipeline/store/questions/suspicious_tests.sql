-- Which problems have tests or checkers that are probably broken?
-- Problems where programs claimed accepted were judged and not one passed, with the most frequent verdict among them. One such
-- program may be wrong; several with one verdict mean that the problem should not be trained on.
SELECT
    problem_id, any_value(source) AS source, count(*) AS claimed_accepted, mode(verdict) AS usual_verdict
FROM judged
WHERE claimed_verdict = 'accepted' AND reward_binary IS NOT NULL
GROUP BY problem_id
HAVING count(*) FILTER (verdict = 'accepted') = 0
ORDER BY claimed_accepted DESC, problem_id
