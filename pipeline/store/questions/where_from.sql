-- Where does a row come from?
-- Needs the parameter row_id: a trajectory_id, problem_id or quarantine_id. The answer is the table it is in, the file and the
-- line or row in it, and the batch that brought it; `source_sha256` proves that the file is the same today.
SELECT in_table, row_id, source_file, source_line, batch_id, adapter, source_sha256, ingested_at
FROM lineage
WHERE row_id = $row_id
ORDER BY in_table
