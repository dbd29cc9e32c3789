"""Rollouts: completions sampled from a policy here or on a server, or found by search, appended to the
store as trajectories.
"""

from trainer.rollouts.choosing import WATERMARK_TABLES, choose, counted
from trainer.rollouts.generation import Provenance, Sampler, SamplingSettings, rollout
from trainer.rollouts.online import FreshData, OnlineSettings
from trainer.rollouts.program_search import SearchSettings, search
from trainer.rollouts.served import Endpoint, ServedSampler
from trainer.rollouts.worker import Outcome, RolloutWorker, WorkerSettings

__all__ = [
    "WATERMARK_TABLES",
    "Endpoint",
    "FreshData",
    "OnlineSettings",
    "Outcome",
    "Provenance",
    "RolloutWorker",
    "Sampler",
    "SamplingSettings",
    "SearchSettings",
    "ServedSampler",
    "WorkerSettings",
    "choose",
    "counted",
    "rollout",
    "search",
]
