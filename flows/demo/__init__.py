"""The demo: the whole pipeline in one flow, from contest data to a report with pass@k before and after
training.

A run is named by its settings, so the same command resumes the same run: finished stages are looked up,
killed stages continue, and nothing is added twice.
"""

from flows.demo.flow import demo_flow
from flows.demo.settings import STARTER, DemoSettings, identity_of

__all__ = ["STARTER", "DemoSettings", "demo_flow", "identity_of"]
