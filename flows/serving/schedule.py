"""The schedule file: what runs by itself and when, in TOML. `flows/README.md` has an example; every key is a field here.

An entry has a `name` and at most one of `cron` and `interval_s`; one with neither runs when it is asked to, by a `[[when]]`, by a
`[chain]` or by hand. Local paths are taken from the folder where `spo serve` or `spo deploy` runs.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.corpora import CorpusError, read_spec


class ScheduleError(ValueError):
    """A schedule file that cannot be used; one line with file, key and reason."""


class Entry(BaseModel):
    """One deployment. `stage` names its flow in `flows/serving/deployments.py`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    stage: ClassVar[str]
    name: str = Field(min_length=1, description="name of the deployment; unique in the file")
    cron: str | None = Field(None, description="five fields, e.g. `0 3 * * *`")
    interval_s: float | None = Field(None, ge=1, description="seconds from one start to the next")
    paused: bool = Field(False, description="registered, but not started by its schedule")

    @field_validator("cron")
    @classmethod
    def cron_is_one(cls, value: str | None) -> str | None:
        from prefect.client.schemas.schedules import CronSchedule

        try:
            return None if value is None else CronSchedule(cron=value).cron
        except ValidationError:
            raise ValueError("no cron expression; five fields, e.g. 0 3 * * * for three at night") from None

    @model_validator(mode="after")
    def one_schedule(self) -> Entry:
        if self.cron is not None and self.interval_s is not None:
            raise ValueError("cron and interval_s exclude each other")
        return self

    def parameters(self, store: str) -> dict[str, Any]:
        """Parameters of the flow."""
        own = self.model_dump(exclude={"name", "cron", "interval_s", "paused"}, exclude_none=True)
        return {"store": store, **own}


class Ingest(Entry):
    stage = "ingest"
    adapter: str
    source: str = Field(description="file, folder or Hub name")
    limit: int | None = Field(None, ge=1, description="problems at most, chosen by hash")
    set: dict[str, str] = Field({}, description="columns of all its trajectories: origin, policy_id, ...")
    timeout_s: float | None = Field(
        None, gt=0, description="seconds after which a run is failed; it goes on with the next"
    )

    def parameters(self, store: str) -> dict[str, Any]:
        own = super().parameters(store)
        columns = own.pop("set")
        source = str(Path(self.source).resolve()) if Path(self.source).exists() else self.source
        return own | {"source": source} | ({"columns": columns} if columns else {})


class Spread(Entry):
    runner: str | None = Field(
        None, description="threads, dask, ray, or dask@tcp://HOST:8786; else SPO_TASK_RUNNER"
    )
    parts: int | None = Field(None, ge=1, description="parts of the work on a cluster; default 8")
    timeout_s: float | None = Field(
        None, gt=0, description="seconds after which a run is failed; it goes on with the next"
    )

    @field_validator("runner")
    @classmethod
    def runner_is_known(cls, value: str | None) -> str | None:
        from flows.runtime.spreading import runner_of

        runner_of(value)
        return value


class Label(Spread):
    stage = "label"
    name: str = "label"
    workers: int | None = Field(None, ge=1, description="sandbox workers; default: three for every two cores")
    time_factor: float = Field(
        1.0, ge=0.01, description="multiplies time limits, for a slower machine; part of the judge version"
    )


class Deduplicate(Spread):
    stage = "deduplicate"
    name: str = "deduplicate"


class Score(Spread):
    stage = "score"
    name: str = "score"
    folder: str = Field(description="folder of the reference policy")
    max_tokens: int = Field(2048, ge=2, description="longest prompt and completion")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="that of the training to come")


class Publish(Entry):
    stage = "publish"
    spec: str = Field(
        description=".toml or .sql file of a corpus, see `pipeline/corpora/publication.py`; read at every run"
    )

    def parameters(self, store: str) -> dict[str, Any]:
        return {"store": store, "spec_file": str(Path(self.spec).resolve())}


class Train(Entry):
    stage = "train"
    config: str = Field(description="TOML file of a run, see `trainer/README.md`; read at every run")
    repeat: bool = Field(
        False, description="a run that is done is followed by another, in a folder of its own"
    )

    def parameters(self, store: str) -> dict[str, Any]:
        return {"config": str(Path(self.config).resolve()), "repeat": self.repeat}


class Evaluate(Entry):
    stage = "evaluate"
    policy: str = Field("newest", description="a policy, a run for its newest, a folder, or `newest` of all")
    problems: str = Field("split = 'test'", description="SQL condition on `problems`")
    samples_per_problem: int = Field(10, ge=1)
    max_new_tokens: int = Field(512, ge=1)
    temperature: float = Field(1.0, gt=0)
    seed: int = 0


class Maintain(Entry):
    stage = "maintain"
    name: str = "maintain"
    retention_hours: int | None = Field(
        None, ge=0, description="keep what was live in the last hours; default 168"
    )


class Chain(Entry):
    stage = "chain"
    name: str = "chain"
    run: list[str] = Field(
        [], description="names of entries, run in turn; default: every ingest, deduplicate, label, publish"
    )


class When(BaseModel):
    """An event: as soon as there are so many new verdicts in the store, an entry is run."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = ""
    labelled_rows: int = Field(ge=1, description="new rows with a verdict since the last time")
    run: str = Field(description="name of the entry")


SECTIONS = ("ingest", "deduplicate", "label", "score", "publish", "train", "evaluate", "maintain")


class Schedule(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    store: str
    timezone: str = Field("UTC", description="that the cron times are meant in")
    runs_at_once: int = Field(4, ge=1, description="runs side by side in one `spo serve`")
    heavy_at_once: int = Field(
        1, ge=1, description="of them on one machine such as fill all processors; the others wait"
    )
    ingest: list[Ingest] = []
    deduplicate: list[Deduplicate] = []
    label: list[Label] = []
    score: list[Score] = []
    publish: list[Publish] = []
    train: list[Train] = []
    evaluate: list[Evaluate] = []
    maintain: list[Maintain] = []
    chain: Chain | None = None
    when: list[When] = []

    @field_validator("timezone")
    @classmethod
    def timezone_is_one(cls, value: str) -> str:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError("no such time zone; e.g. Europe/Berlin") from None
        return value

    @model_validator(mode="after")
    def names_fit(self) -> Schedule:
        names = [entry.name for entry in self.entries()]
        if not names:
            raise ValueError(f"nothing to run; sections: {', '.join(SECTIONS)}, chain")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two entries are named {twice[0]}; give one of them another name")
        for where, wanted in [
            *(("chain.run", n) for n in (self.chain.run if self.chain else [])),
            *(("when.run", w.run) for w in self.when),
        ]:
            if wanted not in names:
                raise ValueError(f"{where}: no entry is named {wanted}; there are: {', '.join(names)}")
        if self.chain and self.chain.name in self.chain.run:
            raise ValueError("chain.run: the chain cannot run itself")
        return self

    def entries(self) -> Iterator[Entry]:
        for section in SECTIONS:
            yield from getattr(self, section)
        if self.chain:
            yield self.chain

    def steps_of_chain(self) -> list[Entry]:
        """The entries that the chain runs, in turn."""
        by_name = {entry.name: entry for entry in self.entries()}
        if self.chain and self.chain.run:
            return [by_name[name] for name in self.chain.run]
        deduplicate = list(self.deduplicate) or [Deduplicate()]
        return [*self.ingest, *deduplicate[:1], *(list(self.label) or [Label()])[:1], *self.publish]

    def thresholds(self) -> list[When]:
        """The `[[when]]`s, each with a name."""
        return [
            when
            if when.name
            else when.model_copy(update={"name": f"{when.labelled_rows} new verdicts start {when.run}"})
            for when in self.when
        ]

    def location(self) -> str:
        return self.store if "://" in self.store else str(Path(self.store).resolve())


def load_schedule(path: Path) -> Schedule:
    """Read and check a schedule file. Raises ScheduleError, in one line, for anything that is wrong with it."""
    try:
        schedule = Schedule.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise ScheduleError(
            f"{path}: {error.strerror}; name a TOML file, flows/README.md has an example"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScheduleError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        raise ScheduleError(f"{path}: {'; '.join(map(one_line, error.errors()))}") from error
    check_files(path, schedule)
    return schedule


def check_files(path: Path, schedule: Schedule) -> None:
    """What the entries name must be there when the file is registered, not first at three in the morning."""
    from pipeline.adapters import SourceError, find

    for entry in schedule.ingest:
        try:
            find(entry.adapter)
        except SourceError as error:
            raise ScheduleError(f"{path}: ingest {entry.name}: {error}") from error
    for spec in schedule.publish:
        try:
            read_spec(spec.spec)
        except CorpusError as error:
            raise ScheduleError(f"{path}: publish {spec.name}: {error}") from error
    for train in schedule.train:
        if not Path(train.config).is_file():
            raise ScheduleError(f"{path}: train {train.name}: no file {train.config}")


def one_line(error: Any) -> str:
    """`ingest.0.adaptor: unknown key; did you mean adapter?`"""
    where = ".".join(str(part) for part in error["loc"]) or "file"
    if error["type"] == "extra_forbidden":
        known = fields_at(Schedule, error["loc"][:-1])
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        return f"{where}: unknown key; " + (
            f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
        )
    said = error["msg"].removeprefix("Value error, ")
    return f"{where}: {said}" + (
        "" if error["type"] == "missing" or where == "file" else f" (it is {error['input']!r})"
    )


def fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys a section may have; a number in the location is the place in a list."""
    for part in location:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            model = next(
                found
                for found in [annotation, *get_args(annotation)]
                if isinstance(found, type) and issubclass(found, BaseModel)
            )
    return list(model.model_fields)
