-- Why rows were refused: one row an (adapter, file, field, reason) with its count and its first line as an example.
-- The refused row itself, whole, is `quarantine.raw`.
SELECT
    adapter, source_file, field, reason, count(*) AS refused,
    min(source_line) AS first_line, arg_min(quarantine_id, source_line) AS example
FROM quarantine
GROUP BY adapter, source_file, field, reason
