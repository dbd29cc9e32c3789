-- Trajectories that a training corpus may take without giving the evaluation set away: neither they nor their problems are marked
-- by the latest decontamination pass. All of them before the first pass. All columns of `trajectories`.
SELECT t.*
FROM trajectories t
WHERE t.problem_id NOT IN (SELECT subject_id FROM contaminated WHERE kind = 'problem')
  AND t.trajectory_id NOT IN (SELECT subject_id FROM contaminated WHERE kind = 'trajectory')
