"""Policies: a causal language model with its tokenizer and template, its log-probabilities, its adapters,
and where it is published.
"""

from trainer.policies.adapters import (
    LoraSettings,
    MissingExtra,
    adapter_state,
    load_adapter,
    merge_adapter,
    prepare,
)
from trainer.policies.batching import TokenBatch, length_buckets, pack_groups, packed_batch, token_batch
from trainer.policies.entropy import token_entropy
from trainer.policies.logprobs import (
    CompletionLogprobs,
    Head,
    Precision,
    autocast,
    completion_logprobs,
    has_fused_head,
)
from trainer.policies.policy import INSTRUCTION, Policy, load_policy, new_policy
from trainer.policies.publishing import (
    Found,
    PolicyNotFound,
    Publisher,
    digest,
    find_policy,
    has_weights,
    is_finished,
    newest_of_all,
    newest_policy,
    publish_policy,
)
from trainer.policies.reference import (
    ReferenceChanged,
    changes,
    check_scored,
    encode,
    name_of,
    reference_fingerprint,
    reference_parts,
    score,
)
from trainer.policies.warmstart import warm_start

__all__ = [
    "INSTRUCTION",
    "CompletionLogprobs",
    "Found",
    "Head",
    "LoraSettings",
    "MissingExtra",
    "Policy",
    "PolicyNotFound",
    "Precision",
    "Publisher",
    "ReferenceChanged",
    "TokenBatch",
    "adapter_state",
    "autocast",
    "changes",
    "check_scored",
    "completion_logprobs",
    "digest",
    "encode",
    "find_policy",
    "has_fused_head",
    "has_weights",
    "is_finished",
    "length_buckets",
    "load_adapter",
    "load_policy",
    "merge_adapter",
    "name_of",
    "new_policy",
    "newest_of_all",
    "newest_policy",
    "pack_groups",
    "packed_batch",
    "prepare",
    "publish_policy",
    "reference_fingerprint",
    "reference_parts",
    "score",
    "token_batch",
    "token_entropy",
    "warm_start",
]
