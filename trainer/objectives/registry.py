"""The objectives that `[objective] name = ...` chooses from. A new one is a file beside this one and a
line here.
"""

from __future__ import annotations

import difflib
import pkgutil
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny
from pydantic_core import PydanticCustomError

from trainer.objectives.base import ObjectiveSettings

# Name -> where its settings are; imported when the name is used.
OBJECTIVES: dict[str, str] = {
    "astar_po": "trainer.objectives.astar_po:AStarPoSettings",
    "asymre": "trainer.objectives.asymre:AsymReSettings",
    "grpo": "trainer.objectives.grpo:GrpoSettings",
    "gspo": "trainer.objectives.gspo:GspoSettings",
    "oapl": "trainer.objectives.oapl:OaplSettings",
    "ppo": "trainer.objectives.ppo:PpoSettings",
    "rloo": "trainer.objectives.rloo:RlooSettings",
    "sft": "trainer.objectives.sft:SftSettings",
    "spo": "trainer.objectives.spo:SpoSettings",
    "tba": "trainer.objectives.tba:TbaSettings",
    "topr": "trainer.objectives.topr:ToprSettings",
}


def settings_class(name: str) -> type[ObjectiveSettings]:
    """The settings of an objective. Raises a validation error that lists the names for an unknown one."""
    if name not in OBJECTIVES:
        near = difflib.get_close_matches(name, OBJECTIVES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(OBJECTIVES))}"
        raise PydanticCustomError(
            "unknown_objective", "no objective is named {name}; {hint}", {"name": name, "hint": hint}
        )
    return pkgutil.resolve_name(OBJECTIVES[name])


def _chosen(value: Any) -> Any:
    """Read a section [objective] as the settings of the objective that it names."""
    if not isinstance(value, dict):
        return value
    name = value.get("name")
    if not isinstance(name, str):
        raise PydanticCustomError(
            "unnamed_objective",
            "name is missing; there are: {names}",
            {"names": ", ".join(sorted(OBJECTIVES))},
        )
    return settings_class(name).model_validate(value)


AnyObjectiveSettings = Annotated[SerializeAsAny[ObjectiveSettings], BeforeValidator(_chosen)]
