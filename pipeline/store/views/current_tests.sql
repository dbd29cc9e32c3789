-- The tests each problem is judged on, in their order: those of the batch that brought the problem's own row.
-- A killed ingestion may have left tests behind whose problem never came; they are in `tests`, and not in here.
SELECT t.*
FROM tests t
SEMI JOIN problems p ON t.problem_id = p.problem_id AND t.batch_id = p.batch_id
ORDER BY t.problem_id, t.position
