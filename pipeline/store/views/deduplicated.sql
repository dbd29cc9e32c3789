-- Trajectories with duplicates collapsed: all columns of `trajectories`, with their cluster, for one trajectory of each
-- cluster, verdict and origin (the macro `one_of_near`), so that no accepted program is dropped for a failing twin, and
-- none of one origin for a program of another. Rows without a verdict are collapsed only if their tokens are equal,
-- because near-duplicates often behave differently. A row that no pass has seen yet is its own cluster (cluster_id and
-- cluster_size null). For a training corpus, never for Q0.
SELECT t.*, c.cluster_id, c.cluster_size
FROM trajectories t
LEFT JOIN clusters c USING (trajectory_id)
LEFT JOIN program_signatures s ON s.trajectory_id = t.trajectory_id AND s.algorithm = c.algorithm
LEFT JOIN (SELECT trajectory_id, verdict FROM judged) j ON j.trajectory_id = t.trajectory_id
QUALIFY one_of_near(
    c.cluster_id, (j.verdict, t.origin, CASE WHEN j.verdict IS NULL THEN s.token_hash END), t.trajectory_id
)
