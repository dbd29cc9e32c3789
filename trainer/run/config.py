"""The configuration of a training run: one TOML file, a section for each component, typed beside the component's code.

    run = "data/runs/mine"              # the folder of the run; training goes on where it was if it exists
    store = "data/store"
    reference = "data/runs/demo-.../reference"     # folder of the reference policy, whose scores are in the store
    [training]                          # trainer/run/loop.py: TrainSettings
    [mixture]                           # trainer/data/stream.py: Mixture, without its sources
    [[source]]                          # trainer/data/stream.py: Source, one for each part of the mixture
    [online]                            # trainer/rollouts/online.py: OnlineSettings; leave out for offline training

A worked example is in trainer/README.md.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trainer.data import Mixture, Source
from trainer.rollouts import OnlineSettings
from trainer.run.loop import TrainSettings

SAVED = "config.json"  # in a run's folder: the configuration that the run was begun with


class ConfigError(ValueError):
    """A configuration that cannot be used: the message names file and key, and what would be right."""


class MixtureConfig(BaseModel):
    """Section [mixture]: what holds for all sources. The fields are those of `trainer.data.stream.Mixture`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    batch_sequences: int = Mixture.model_fields["batch_sequences"].default
    batch_tokens_global: int | None = None
    reward: str = Mixture.model_fields["reward"].default
    smoothing: float = Mixture.model_fields["smoothing"].default
    value_floor: float | None = None
    follow_every: int | None = None


class OnlineConfig(OnlineSettings):
    """Section [online]: fresh data made by this process itself."""

    problems_where: str = Field(
        "split = 'train'", description="SQL predicate on `problems`: what may be sampled"
    )


class RunConfig(BaseModel):
    """All of one run."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    run: Path = Field(description="folder of the run")
    name: str | None = Field(
        None,
        min_length=1,
        description="run_id and policy_id of what the run publishes; null: the folder's name",
    )
    store: str = Field("data/store", description="folder or URL of the store")
    reference: Path = Field(description="folder of the reference policy; training starts from it")
    reference_policy: str | None = Field(
        None, description="policy_id whose samples give Q0; null: as it was published"
    )
    seed: int = 0
    evaluation: str | None = Field(
        None,
        description="SQL predicate on `problems`: the evaluation set; a run that gives it away is refused."
        " See trainer/run/leaks.py. Null: split = 'test', kept apart by identity but not by shared words",
    )
    allow_leaks: tuple[Literal["itself", "same", "ngrams"], ...] = Field(
        (), description="evidence of leaks that refuses nothing"
    )
    training: TrainSettings = TrainSettings()
    mixture: MixtureConfig = MixtureConfig()
    source: list[Source] = Field(min_length=1)
    online: OnlineConfig | None = None

    @model_validator(mode="after")
    def names_differ(self) -> RunConfig:
        names = [source.name for source in self.source]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are named {twice[0]}")
        return self

    @property
    def run_id(self) -> str:
        return self.name or self.run.name

    def to_mixture(self) -> Mixture:
        return Mixture(source=self.source, **self.mixture.model_dump())


def load_config(path: Path) -> RunConfig:
    """The checked configuration in a TOML file, or the saved one of a run whose folder is given.

    Raises ConfigError, in one line, for anything that is wrong with it.
    """
    path = path / SAVED if path.is_dir() else path
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; name a TOML file, see trainer/README.md for an example, or a run's folder"
        ) from error
    try:
        config = RunConfig.model_validate(json.loads(text) if path.name == SAVED else tomllib.loads(text))
        config.to_mixture()
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        kind = "JSON" if path.name == SAVED else "TOML"
        raise ConfigError(f"{path}: not {kind}: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {'; '.join(map(one_line, error.errors()))}") from error
    return config


def one_line(error: Any) -> str:
    """`training.step: unknown key; did you mean steps?`"""
    where = ".".join(str(part) for part in error["loc"]) or "file"
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg']}" + (
            "" if error["type"] == "missing" else f" (it is {error['input']!r})"
        )
    known = fields_at(RunConfig, error["loc"][:-1])
    near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
    return f"{where}: unknown key; " + (
        f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
    )


def fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys a section may have; a number in the location is the place in a list."""
    for part in location:
        if isinstance(part, str):
            model = model_in(model.model_fields[part].annotation)
    return list(model.model_fields)


def model_in(annotation: Any) -> type[BaseModel]:
    """The model inside `X`, `list[X]` or `X | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(model_in(part) for part in get_args(annotation) if part is not type(None))
