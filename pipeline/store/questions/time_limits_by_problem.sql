-- Which problems' time limits should be looked at, by the known right programs that were judged on this machine?
-- `slowest_s` is the CPU time of the slowest right one on its slowest test, `suggested_s` twice that, the usual distance between
-- the slowest reference solution and the limit; where some were too slow it is a lower bound, as those were ended at the limit.
-- A problem without a limit of its own is judged by the judge's wide default. Listed are limits off by a factor of two and more.
SELECT
    p.problem_id, p.time_limit_s, count(*) AS known_right,
    count(*) FILTER (t.verdict = 'time_limit_exceeded') AS too_slow,
    round(max(t.cpu_s), 3) AS slowest_s,
    round(greatest(2 * max(t.cpu_s), 0.1), 2) AS suggested_s,
    round(suggested_s / p.time_limit_s, 2) AS factor
FROM judged t
JOIN problems p USING (problem_id)
WHERE t.claimed_verdict = 'accepted' AND t.verdict IN ('accepted', 'time_limit_exceeded')
GROUP BY p.problem_id, p.time_limit_s
HAVING too_slow > 0 OR p.time_limit_s IS NULL OR factor >= 2
ORDER BY too_slow DESC, factor DESC NULLS LAST, p.problem_id
