-- The cluster of every problem that a pass over all sources has seen: its row of the latest pass, one a problem. Problems of
-- one cluster are the same problem in several sources.
SELECT *
FROM same_problems
QUALIFY row_number() OVER (PARTITION BY problem_id ORDER BY pass_number DESC, algorithm DESC) = 1
