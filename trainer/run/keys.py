"""Every key of a run's configuration, from the models that read it: what `spo config` shows."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from trainer.data import Mixture, Source
from trainer.objectives import OBJECTIVES, settings_class
from trainer.policies import LoraSettings
from trainer.rollouts import SamplingSettings
from trainer.run.config import MixtureConfig, OnlineConfig, RunConfig
from trainer.run.optim import OptimiserSettings
from trainer.run.settings import TrainingSettings
from trainer.run.validation import ValidationSettings

SECTIONS: dict[str, type[BaseModel]] = {
    "": RunConfig,
    "training": TrainingSettings,
    "optimiser": OptimiserSettings,
    "optimiser.lora": LoraSettings,
    "mixture": MixtureConfig,
    "source": Source,
    "online": OnlineConfig,
    "online.sampling": SamplingSettings,
    "validation": ValidationSettings,
    "validation.sampling": SamplingSettings,
}
BOUNDS = {Ge: ("ge", ">="), Gt: ("gt", ">"), Le: ("le", "<="), Lt: ("lt", "<")}


@dataclass(frozen=True)
class Key:
    """One key of a section. `default` is as in TOML, `null` for none, None where the key is required."""

    section: str
    key: str
    type: str
    default: str | None
    meaning: str


def run_keys(objective: str | None = None) -> list[Key]:
    """All keys of a run's file, with those of one objective or of all."""
    rows = [key for name, model in SECTIONS.items() for key in keys_of(model, name)]
    for name in [objective] if objective else sorted(OBJECTIVES):
        rows += keys_of(settings_class(name), f"objective, name = {json.dumps(name)}")
    return rows


def keys_of(model: type[BaseModel], section: str) -> Iterator[Key]:
    """The keys of one model. Those that are sections themselves are left out."""
    for name, field in model.model_fields.items():
        if _is_section(field.annotation) or (section.startswith("objective") and name == "name"):
            continue
        meaning = field.description or (
            Mixture.model_fields[name].description if model is MixtureConfig else ""
        )
        yield Key(section, name, _type_of(field), _default_of(field), meaning or "")


def _is_section(annotation: Any) -> bool:
    if isinstance(annotation, type):
        return issubclass(annotation, BaseModel)
    return any(_is_section(part) for part in get_args(annotation))


def _type_of(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(bound, attribute):g}"
        for bound in field.metadata
        for kind, (attribute, sign) in BOUNDS.items()
        if isinstance(bound, kind)
    ]
    return " ".join([_named(field.annotation), ", ".join(bounds)]).strip()


def _named(annotation: Any) -> str:
    """A type in the words of TOML."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(json.dumps(part) for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_named(part) for part in parts))
    if origin is typing.Annotated:
        return _named(parts[0])
    if origin in (list, tuple):
        return f"list of {_named(parts[0])}"
    if origin is dict:
        return "table"
    names = {int: "integer", float: "number", str: "text", bool: "true or false", Path: "path"}
    return (
        "null"
        if annotation is type(None)
        else names.get(annotation, getattr(annotation, "__name__", "value"))
    )


def _default_of(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    value = field.get_default(call_default_factory=True)
    return json.dumps(None if value is PydanticUndefined else value, default=str)
