"""Words that columns of the store may have, besides the languages (`pipeline/store/contracts.py`)."""

from __future__ import annotations

from sandbox.verdicts import NO_VERDICTS, PROGRAM_VERDICTS
from sandbox.verdicts import VERDICTS as VERDICTS

ORIGINS = ("human", "earlier_training", "earlier_run", "other_policy", "search", "online")
SPLITS = ("train", "valid", "test", "none")
# A program with a script of its own, and an answer that is no program.
NOT_PROGRAMS = ("script", "answer")
CLAIMED_VERDICTS = (*PROGRAM_VERDICTS, "partial", "rejected")
NOT_A_REWARD = NO_VERDICTS
