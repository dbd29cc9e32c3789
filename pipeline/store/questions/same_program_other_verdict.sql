-- Which equal programs got different verdicts?
-- Programs of one problem with the same tokens must get the same verdict; where they don't, the judge is not deterministic there
-- (time limits, random programs), or the program depends on something the sandbox does not fix. Empty is the good answer.
SELECT
    s.problem_id, s.token_hash, count(*) AS programs, list_sort(list(DISTINCT j.verdict)) AS verdicts
FROM program_signatures s
JOIN judged j USING (trajectory_id)
GROUP BY s.problem_id, s.language, s.token_hash, s.algorithm
HAVING count(DISTINCT j.verdict) > 1
ORDER BY programs DESC, s.token_hash
