"""Rollouts: completions sampled from a policy in this process or on a server, or found by search, appended
to the store as trajectories.
"""

from trainer.rollouts.choosing import WATERMARK_TABLES, choose_problems, problem_counts
from trainer.rollouts.generation import LocalSampler, Provenance, Sampler, SamplingSettings, rollout
from trainer.rollouts.online import FreshData, OnlineSettings, shared_sampler
from trainer.rollouts.program_search import SearchSettings, search
from trainer.rollouts.served import Endpoint, ServedSampler
from trainer.rollouts.weight_servers import FollowingServers, RestartedServer, VllmServer, WeightServer
from trainer.rollouts.worker import Outcome, RolloutWorker, WorkerSettings

__all__ = [
    "WATERMARK_TABLES",
    "Endpoint",
    "FollowingServers",
    "FreshData",
    "LocalSampler",
    "OnlineSettings",
    "Outcome",
    "Provenance",
    "RestartedServer",
    "RolloutWorker",
    "Sampler",
    "SamplingSettings",
    "SearchSettings",
    "ServedSampler",
    "VllmServer",
    "WeightServer",
    "WorkerSettings",
    "choose_problems",
    "problem_counts",
    "rollout",
    "search",
    "shared_sampler",
]
