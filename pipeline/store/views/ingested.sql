-- Ingestion by adapter and file: rows read, new, already present, refused, and seconds; the newest last.
-- `balanced` is the promise read = accepted + present + quarantined; `limit` null: the whole file was read.
SELECT
    adapter, source_file, "limit", "read", accepted, present, quarantined,
    "read" = accepted + present + quarantined AS balanced,
    epoch(finished_at - started_at) AS seconds, started_at, batch_id, source_sha256
FROM batches
ORDER BY started_at, batch_id
