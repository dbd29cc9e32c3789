"""The configuration of a training run: one TOML file, each section typed beside the code that reads it.

    run = "data/runs/mine"              # the folder of the run; an existing run resumes
    store = "data/store"
    reference = "data/runs/demo-.../reference"     # folder of the policy that training starts from
    [objective]                         # trainer/objectives/: name = "spo" or another, and its own settings
    [training]                          # trainer/run/settings.py: TrainingSettings
    [optimiser]                         # trainer/run/optim.py: OptimiserSettings
    [mixture]                           # trainer/data/mixture.py: Mixture, without its sources
    [[source]]                          # trainer/data/mixture.py: Source, one per part of the mixture
    [online]                            # trainer/rollouts/online.py: OnlineSettings; omit to train offline
    [validation]                        # trainer/run/validation.py: ValidationSettings; omit for none

A worked example is in trainer/README.md.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from pipeline.store import predicate, reward
from trainer.data import Mixture, Source
from trainer.objectives import OBJECTIVES, AnyObjectiveSettings, SpoSettings, settings_class
from trainer.rollouts import OnlineSettings
from trainer.run.optim import OptimiserSettings
from trainer.run.settings import TrainingSettings
from trainer.run.validation import ValidationSettings

SAVED = "config.json"  # in a run's folder: the configuration that the run began with
# Settings that have another name in another section now.
RENAMED = {
    ("training", "optimiser"): "[optimiser] as kind",
    ("training", "tensorboard"): "[training] as loggers = ['tensorboard']",
}


class ConfigError(ValueError):
    """A configuration that cannot be used: the message names file and key, and what would be right."""


class MixtureConfig(BaseModel):
    """Section [mixture]: settings for all sources. The fields are those of `trainer.data.Mixture`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    batch_sequences: int = Mixture.model_fields["batch_sequences"].default
    batch_tokens_global: int | None = None
    max_tokens: int | None = None
    reward: str = Mixture.model_fields["reward"].default
    follow_every: int | None = None

    @field_validator("reward")
    @classmethod
    def reward_is_known(cls, value: str) -> str:
        return reward(value).name


class OnlineConfig(OnlineSettings):
    """Section [online]: fresh data made by this process."""

    problems_where: str = Field(
        "split = 'train'", description="SQL predicate on `problems`: what may be sampled"
    )

    @field_validator("problems_where")
    @classmethod
    def problems_where_is_a_condition(cls, value: str) -> str:
        predicate(value, name="condition")
        return value


def _with_condition(source: Source) -> Source:
    source.condition()
    return source


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
    reference: Path = Field(
        description="folder of the policy that training starts from,"
        " and the objective's reference if it needs one"
    )
    reference_policy: str | None = Field(
        None, description="policy_id whose samples give Q0; null: as it was published"
    )
    seed: int = Field(0, description="of every draw of rows and fresh samples")
    evaluation: str | None = Field(
        None,
        description="SQL predicate on `problems`: the evaluation set; a run that leaks it is refused."
        " See trainer/run/leaks.py. Null: split = 'test', which excludes the same problems but not"
        " shared words",
    )
    allow_leaks: tuple[Literal["itself", "same", "ngrams"], ...] = Field(
        (), description="evidence of leaks that refuses nothing"
    )
    objective: AnyObjectiveSettings = SpoSettings()
    training: TrainingSettings = TrainingSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    mixture: MixtureConfig = MixtureConfig()
    source: list[Annotated[Source, AfterValidator(_with_condition)]] = Field(min_length=1)
    online: OnlineConfig | None = None
    validation: ValidationSettings | None = None

    @field_validator("evaluation")
    @classmethod
    def evaluation_is_a_condition(cls, value: str | None) -> str | None:
        if value is not None:
            predicate(value, name="condition")
        return value

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
    values = _read(path)
    try:
        config = RunConfig.model_validate(values)
        config.to_mixture()
    except ValidationError as error:
        messages = (_one_line(detail, _sections(values)) for detail in error.errors())
        raise ConfigError(f"{path}: {'; '.join(messages)}") from error
    return config


def of_earlier_version(saved: Any) -> Any:
    """The saved configuration of a run that an earlier version began, in today's words."""
    training = saved.get("training") if isinstance(saved, dict) else None
    if not isinstance(training, dict) or "tensorboard" not in training:
        return saved
    named = ["tensorboard"] if training["tensorboard"] else []
    settings = {name: value for name, value in training.items() if name != "tensorboard"}
    return {**saved, "training": {"loggers": named, **settings}}


def _read(path: Path) -> Any:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; name a TOML file, see trainer/README.md for an example,"
            " or a run's folder"
        ) from error
    try:
        if path.name == SAVED:
            return of_earlier_version(json.loads(content))
        return tomllib.loads(content.decode())
    except ValueError as error:
        kind = "JSON" if path.name == SAVED else "TOML"
        raise ConfigError(f"{path}: not {kind}: {error}") from error


def _one_line(error: Any, sections: Mapping[str, type[BaseModel]]) -> str:
    """`training.step: unknown key; did you mean steps?`"""
    location = error["loc"]
    where = ".".join(str(part) for part in location) or "file"
    if error["type"] != "extra_forbidden":
        # Our own messages include the value.
        shows_input = error["type"] not in (
            "missing",
            "value_error",
            "unknown_objective",
            "unnamed_objective",
        )
        message = error["msg"].removeprefix("Value error, ")
        return f"{where}: {message}" + (f" (it is {error['input']!r})" if shows_input else "")
    if home := _home_of(location, sections):
        return f"{where}: belongs to {home} now"
    known = _fields_at(sections, location[:-1])
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"{where}: unknown key; " + (
        f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
    )


def _sections(values: Any) -> dict[str, type[BaseModel]]:
    """The model of each section; of [objective], that of the objective which the file names."""
    sections = {}
    for name, field in RunConfig.model_fields.items():
        model = _model_in(field.annotation)
        if model is not None:
            sections[name] = model
    chosen = values.get("objective") if isinstance(values, dict) else None
    named = chosen.get("name") if isinstance(chosen, dict) else None
    sections["objective"] = settings_class(named) if named in OBJECTIVES else SpoSettings
    return sections


def _home_of(location: tuple[int | str, ...], sections: Mapping[str, type[BaseModel]]) -> str | None:
    """The section that has the key of an unknown one, or what it is called there."""
    *section, key = location
    if len(section) != 1:
        return None
    if renamed := RENAMED.get((str(section[0]), str(key))):
        return renamed
    homes = (name for name in ("objective", "training", "optimiser", "mixture", "online", "validation"))
    return next((f"[{home}]" for home in homes if key in sections[home].model_fields), None)


def _fields_at(sections: Mapping[str, type[BaseModel]], location: tuple[int | str, ...]) -> list[str]:
    """The keys a section may have; a number in the location is an index in a list."""
    if not location:
        return list(RunConfig.model_fields)
    model = sections[str(location[0])]
    for part in location[1:]:
        if isinstance(part, str):
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside `X`, `list[X]` or `X | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)
