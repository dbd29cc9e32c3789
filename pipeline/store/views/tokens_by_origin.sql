-- How much text there is by origin, in characters and tokens: one row an (origin, reference), reference null where nothing
-- was scored. `sampled_tokens` are those stored with a sample; prompt_tokens and completion_tokens are the reference's.
WITH stored AS (
    SELECT
        origin, count(*) AS trajectories,
        sum(length(program))::BIGINT AS program_characters,
        coalesce(sum(len(token_ids)), 0)::BIGINT AS sampled_tokens
    FROM trajectories
    GROUP BY origin
),
scored AS (
    SELECT
        t.origin, s.reference, count(*) AS scored,
        sum(len(s.prompt_ids))::BIGINT AS prompt_tokens,
        sum(len(s.completion_ids))::BIGINT AS completion_tokens,
        sum(s.logprob_sum) / nullif(sum(len(s.completion_ids)), 0) AS mean_token_logprob
    FROM reference_scores s
    JOIN trajectories t USING (trajectory_id)
    GROUP BY t.origin, s.reference
)
SELECT
    origin, reference, trajectories, program_characters, sampled_tokens, coalesce(scored, 0) AS scored,
    coalesce(prompt_tokens, 0) AS prompt_tokens, coalesce(completion_tokens, 0) AS completion_tokens, mean_token_logprob
FROM stored
LEFT JOIN scored USING (origin)
