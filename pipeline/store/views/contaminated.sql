-- What would give a problem of the evaluation set away, as the latest decontamination pass has it: a row for each problem or
-- trajectory (subject_id, kind) and evaluation problem, with the evidence. Empty before the first pass.
SELECT c.*
FROM contaminations c
WHERE c.pass_number = (SELECT max(pass_number) FROM decontaminations)
