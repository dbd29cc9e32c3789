-- One trajectory for each cluster of equal or nearly equal programs, as the latest pass has it, with the cluster's size.
-- Strict: a trajectory that no pass has seen yet is not in here. `deduplicated` takes those along.
SELECT trajectory_id, problem_id, cluster_id, cluster_size, level, algorithm, pass_number
FROM clusters
WHERE trajectory_id = representative_id
