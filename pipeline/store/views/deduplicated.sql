-- Trajectories with duplicates collapsed: all columns of `trajectories` for every representative, and for those that no
-- pass has seen yet (cluster_id and cluster_size null), with their cluster. For a training corpus, never for Q0.
SELECT t.*, c.cluster_id, c.cluster_size
FROM trajectories t
LEFT JOIN clusters c USING (trajectory_id)
WHERE c.trajectory_id IS NULL OR c.representative_id = t.trajectory_id
