-- Which accepted programs came close to the time limit?
-- Accepted, with a test above 70 % of the problem's CPU limit. Their verdict may flip on a slower or busier machine: expect
-- drift there, and give such problems more time.
SELECT
    j.trajectory_id, j.problem_id, p.time_limit_s,
    list_max([test.cpu_s FOR test IN v.tests]) AS slowest_test_s
FROM judged j
JOIN verdicts v USING (trajectory_id, test_set_hash, judge_version, attempt)
JOIN problems p ON p.problem_id = j.problem_id
WHERE j.verdict = 'accepted' AND list_max([test.cpu_s FOR test IN v.tests]) > 0.7 * p.time_limit_s
ORDER BY slowest_test_s / p.time_limit_s DESC, j.trajectory_id
