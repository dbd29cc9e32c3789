-- What was refused at ingestion, and why?
-- By adapter, field and reason, the most frequent first, with one example to look at: SELECT raw FROM quarantine WHERE
-- quarantine_id = '...'. A new reason at the top after an update of a source means that its format changed.
SELECT adapter, field, reason, sum(refused)::BIGINT AS refused, min(first_line) AS first_line, min(example) AS example
FROM quarantine_reasons
GROUP BY adapter, field, reason
ORDER BY refused DESC, reason
