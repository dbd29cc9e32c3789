-- description = "One of each judged human program, right and wrong, on training problems"
-- reward = "binary"
SELECT trajectory_id FROM judged SEMI JOIN deduplicated USING (trajectory_id) WHERE origin = 'human' AND split = 'train'
