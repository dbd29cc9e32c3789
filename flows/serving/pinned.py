"""Flows that run with the parameters of the schedule file, and refuse others.

A client of Prefect's API that has the secret can change a deployment, and start it with other parameters: a
path, an adapter that is a Python file, the address of a cluster. `spo serve` therefore runs its entries as
flows of this module, which take their parameters from its own process and not from the API.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from prefect import Flow
from prefect.utilities.annotations import freeze

from flows.runtime.rules import IN_MEMORY
from flows.stages.recurring import FLOWS, chain_flow


class ParametersError(ValueError):
    """A flow run has other parameters than the schedule file."""


class PinnedFlow(Flow):
    """The flow of a stage. It fails at once if a run's parameters differ from these."""

    def __init__(self, stage: str, parameters: dict[str, Any]):
        flow = stage_flow(stage)
        self._stage, self._parameters = stage, _complete(flow, parameters)

        @functools.wraps(flow.fn)
        def checked(*values: Any, **named: Any) -> Any:
            self._check(inspect.signature(flow.fn).bind(*values, **named).arguments)
            return flow.fn(**self._parameters)

        super().__init__(checked, name=flow.name, flow_run_name=flow.flow_run_name, **IN_MEMORY)

    def __reduce__(self) -> tuple[type, tuple[str, dict[str, Any]]]:
        return type(self), (self._stage, self._parameters)

    def _check(self, requested: dict[str, Any]) -> None:
        wrong = [name for name, value in requested.items() if value != self._parameters[name]]
        if wrong:
            raise ParametersError(
                f"{', '.join(wrong)}: the schedule file has another value;"
                " change it there and restart spo serve"
            )


def stage_flow(stage: str) -> Flow[..., Any]:
    """The flow of an entry's stage."""
    flows: dict[str, Any] = {**FLOWS, "chain": chain_flow}
    return flows[stage]


def _complete(flow: Flow[..., Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """All parameters of a flow: these, and defaults for the others."""
    bound = inspect.signature(flow.fn).bind(**parameters)
    bound.apply_defaults()
    return dict(bound.arguments)


def freeze_parameters(flow: Flow[..., Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """All parameters of a flow, frozen so that Prefect's API and UI accept no other values."""
    return {name: freeze(value) for name, value in _complete(flow, parameters).items()}
