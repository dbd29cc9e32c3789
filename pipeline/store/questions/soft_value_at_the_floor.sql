-- For how many problems does the estimate of Q0 rest on no success at all?
-- By policy: problems with reference trials, those without one success (`at_the_floor`), and the mean number of trials.
-- There Q0 = beta * log(mean exp(r / beta)) collapses to the reward of a failure unless it is smoothed: draw more samples.
SELECT
    policy_id, count(*) AS problems,
    count(*) FILTER (successes = 0) AS at_the_floor,
    avg(trials) AS mean_trials,
    sum(successes) / sum(trials) AS success_rate
FROM reference_counts
WHERE trials > 0
GROUP BY policy_id
ORDER BY policy_id
