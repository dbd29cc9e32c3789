-- The duplicate cluster of every trajectory that a deduplication pass has seen: its row of the latest pass, one a trajectory.
SELECT *
FROM duplicates
QUALIFY row_number() OVER (PARTITION BY trajectory_id ORDER BY pass_number DESC, algorithm DESC) = 1
