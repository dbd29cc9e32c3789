-- Whose claims does the judge contradict most?
-- By source: programs compared, agreement on accepted or not, and in which direction it fails. `claimed_only` (said to be
-- accepted, refused here): missing special judges, other language versions, tighter limits. `judged_only`: our tests are weaker.
SELECT
    source,
    sum(compared)::BIGINT AS compared,
    sum(agreed) / sum(compared) AS agreement,
    sum(claimed_only)::BIGINT AS claimed_only,
    sum(judged_only)::BIGINT AS judged_only
FROM claimed_agreement
GROUP BY source
ORDER BY agreement, source
