-- What sources claim of their programs against what the judge found, by source and policy: one row a (source, policy).
-- `agreement` is on what a reward sees: accepted or not. `verdict_agreement` is on the kind of verdict; the claims `rejected`
-- and `partial` name no kind and agree with every verdict but accepted, or with those of `claimed_verdicts`. Where problems
-- have scores, an accepted program with fewer points than the best of its problem is a partial one, if it is claimed to be.
-- Trajectories without a claim, without a verdict, or in a language the judge lacks are not compared.
WITH scored AS (
    SELECT *, score < max(score) OVER (PARTITION BY problem_id) AS has_fewer_points FROM judged
),
compared AS (
    SELECT
        source, policy_id, claimed_verdict, claimed_verdicts, program_verdict AS verdict,
        claimed_verdict = 'accepted' AS claims,
        program_verdict = 'accepted'
            AND NOT coalesce(claimed_verdict = 'partial' AND has_fewer_points, false) AS passes
    FROM scored
    WHERE claimed_verdict IS NOT NULL AND reward_binary IS NOT NULL
)
SELECT
    source, policy_id,
    count(*) AS compared,
    count(*) FILTER (claims = passes) AS agreed,
    count(*) FILTER (claims = passes) / count(*) AS agreement,
    count(*) FILTER (
        verdict = claimed_verdict
        OR coalesce(
            list_contains(claimed_verdicts, verdict), claimed_verdict IN ('rejected', 'partial') AND NOT passes
        )
    ) / count(*) AS verdict_agreement,
    count(*) FILTER (claims AND passes) AS accepted_both,
    count(*) FILTER (claims AND NOT passes) AS claimed_only,
    count(*) FILTER (NOT claims AND passes) AS judged_only,
    count(*) FILTER (NOT claims AND NOT passes) AS accepted_neither
FROM compared
GROUP BY source, policy_id
