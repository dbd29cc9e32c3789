-- Where a row comes from: batch, file and line of every trajectory, problem and refused row.
-- A rollout is its own batch and has no row in `batches`: adapter, source_sha256 and ingested_at are null there.
WITH rows AS (
    SELECT 'trajectories' AS in_table, trajectory_id AS row_id, batch_id, source_file, source_line FROM trajectories
    UNION ALL
    SELECT 'problems', problem_id, batch_id, source_file, source_line FROM problems
    UNION ALL
    SELECT 'quarantine', quarantine_id, batch_id, source_file, source_line FROM quarantine
)
SELECT
    in_table, row_id, batch_id, r.source_file, r.source_line,
    b.adapter, b.source_sha256, b.started_at AS ingested_at
FROM rows r
LEFT JOIN batches b USING (batch_id)
