-- Every judge version that has given a verdict, and since when: in_use_since is the time of its first one.
SELECT judge_version, min(judged_at) AS in_use_since FROM verdicts GROUP BY judge_version
