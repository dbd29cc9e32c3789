-- Are the time limits right for each language on this machine?
-- Programs claimed accepted that were judged, their CPU time on the slowest test as a share of the problem's limit, and how many
-- were too slow. `factor` is what the limit would have to be multiplied with for 99 of 100 to pass; below 1, it is wide enough.
SELECT
    t.language, count(*) AS known_right,
    count(*) FILTER (t.verdict = 'time_limit_exceeded') AS too_slow,
    round(median(t.cpu_s / p.time_limit_s), 3) AS median_share,
    round(quantile_cont(t.cpu_s / p.time_limit_s, 0.99), 3) AS factor
FROM judged t
JOIN problems p USING (problem_id)
WHERE t.claimed_verdict = 'accepted' AND t.verdict IN ('accepted', 'time_limit_exceeded') AND p.time_limit_s IS NOT NULL
GROUP BY t.language
ORDER BY factor DESC, t.language
