-- description = "One of each judged human program, right and wrong, on training problems"
-- reward = "binary"
SELECT trajectory_id FROM judged LEFT JOIN clusters USING (trajectory_id) WHERE origin = 'human' AND split = 'train'
QUALIFY one_of_near(cluster_id, verdict, trajectory_id)
