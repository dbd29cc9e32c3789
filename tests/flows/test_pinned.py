"""Flows of a schedule run with the schedule's parameters, and with no others."""

from __future__ import annotations

import cloudpickle
import pytest

from flows.serving.pinned import ParametersError, PinnedFlow, freeze_parameters
from flows.stages.maintain import maintain_flow


@pytest.fixture
def calls(monkeypatch):
    """Calls of the maintenance, which does nothing else."""
    made = []

    def maintain(store: str, every_table: bool = False, retention_hours: int | None = None) -> None:
        made.append((store, every_table, retention_hours))

    monkeypatch.setattr(maintain_flow, "fn", maintain)
    return made


def test_its_own_parameters_pass_by_place_and_by_name(calls):
    pinned = PinnedFlow("maintain", {"store": "/store"})
    pinned.fn("/store", False)
    pinned.fn(store="/store")
    assert calls == [("/store", False, None), ("/store", False, None)]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"store": "/etc"}, "store"),
        ({"store": "/store", "retention_hours": 0}, "retention_hours"),
        ({"store": ["/store"]}, "store"),
    ],
)
def test_others_are_refused_before_anything_runs(calls, given, named):
    with pytest.raises(ParametersError, match=f"^{named}: the schedule file has another value"):
        PinnedFlow("maintain", {"store": "/store"}).fn(**given)
    assert calls == []


def test_it_goes_to_another_process_as_its_name_and_parameters(calls):
    written = cloudpickle.dumps(PinnedFlow("maintain", {"store": "/store", "retention_hours": 3}))
    assert len(written) < 300
    copy = cloudpickle.loads(written)
    copy.fn("/store", False, 3)
    assert (copy.name, calls) == ("maintain", [("/store", False, 3)])


def test_the_server_is_told_every_parameter_with_its_only_value():
    deployment = maintain_flow.to_deployment(
        name="m", parameters=freeze_parameters(maintain_flow, {"store": "/store"})
    )
    properties = deployment._parameter_openapi_schema.model_dump()["properties"]
    allowed = {name: value["enum"] for name, value in properties.items()}
    assert allowed == {"store": ["/store"], "every_table": [False], "retention_hours": [None]}
