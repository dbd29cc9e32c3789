-- How much does each policy repeat itself, or others?
-- By origin and policy: trajectories a deduplication pass has seen, the distinct clusters among them, and the share that is not
-- the representative of its cluster. Rising repetition of a training policy is a falling entropy seen from outside.
SELECT
    t.origin, t.policy_id,
    count(*) AS trajectories,
    count(DISTINCT c.cluster_id) AS clusters,
    count(*) FILTER (c.representative_id <> c.trajectory_id) / count(*) AS repeated
FROM clusters c
JOIN trajectories t USING (trajectory_id)
GROUP BY t.origin, t.policy_id
ORDER BY t.origin, t.policy_id
