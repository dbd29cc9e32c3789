-- What did each change of the judge change?
-- By pair of successive judge versions: trajectories judged under both on the same tests, those whose verdict changed, and those
-- whose reward did. A corpus published before such a change keeps its own: it is pinned.
SELECT
    from_version, to_version, count(*) AS judged_by_both,
    count(*) FILTER (changed) AS changed,
    count(*) FILTER (reward_changed) AS reward_changed
FROM verdict_drift
GROUP BY from_version, to_version
ORDER BY from_version, to_version
