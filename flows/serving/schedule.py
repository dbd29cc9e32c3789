"""The schedule file in TOML: what runs automatically, and when.

Every key is a field here; `flows/README.md` has an example. An entry has a `name` and at most one of `cron`
and `interval_s`. An entry with neither runs on request: by a `[[when]]`, by the `[chain]` or from the UI.
Local paths are relative to the folder where `spo serve` or `spo deploy` runs.
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
    """A schedule file that cannot be used. The message is one line with file, key and reason."""


class Entry(BaseModel):
    """One deployment. `stage` names its flow in `flows/stages/recurring.py`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    stage: ClassVar[str]
    name: str = Field(min_length=1, description="name of the deployment; unique in the file")
    cron: str | None = Field(None, description="five fields, e.g. `0 3 * * *`")
    interval_s: float | None = Field(None, ge=1, description="seconds from one start to the next")
    paused: bool = Field(False, description="registered, but not started by its schedule")

    @field_validator("cron")
    @classmethod
    def _check_cron(cls, value: str | None) -> str | None:
        from prefect.client.schemas.schedules import CronSchedule

        try:
            return None if value is None else CronSchedule(cron=value).cron
        except ValidationError:
            raise ValueError(
                "not a cron expression; write five fields, e.g. 0 3 * * * for 03:00 every day"
            ) from None

    @model_validator(mode="after")
    def _check_times(self) -> Entry:
        if self.cron is not None and self.interval_s is not None:
            raise ValueError("cron and interval_s exclude each other; keep one of them")
        return self

    def parameters(self, store: str) -> dict[str, Any]:
        """Parameters of the entry's flow."""
        own = self.model_dump(exclude={"name", "cron", "interval_s", "paused"}, exclude_none=True)
        return {"store": store, **own}


class Ingest(Entry):
    stage = "ingest"
    adapter: str = Field(description="adapter that reads the source; `spo ingest --help` lists them")
    source: str = Field(description="file, folder or Hub name")
    limit: int | None = Field(None, ge=1, description="maximum number of problems, selected by hash")
    set: dict[str, str] = Field(
        {}, description="column values of all its trajectories: origin, policy_id, ..."
    )
    timeout_s: float | None = Field(
        None, gt=0, description="seconds after which a run fails; the next run resumes there"
    )

    def parameters(self, store: str) -> dict[str, Any]:
        own = super().parameters(store)
        columns = own.pop("set")
        source = str(Path(self.source).resolve()) if Path(self.source).exists() else self.source
        return own | {"source": source} | ({"columns": columns} if columns else {})


class Spread(Entry):
    runner: str | None = Field(
        None, description="threads, dask, ray, or dask@tcp://HOST:8786; default: SPO_TASK_RUNNER"
    )
    parts: int | None = Field(None, ge=1, description="number of parts of the work on a cluster; default 8")
    timeout_s: float | None = Field(
        None, gt=0, description="seconds after which a run fails; the next run resumes there"
    )

    @field_validator("runner")
    @classmethod
    def _check_runner(cls, value: str | None) -> str | None:
        from flows.runtime.spreading import parse_runner

        parse_runner(value)
        return value


class Label(Spread):
    stage = "label"
    name: str = Field("label", description="name of the deployment; unique in the file")
    workers: int | None = Field(None, ge=1, description="sandbox workers; default: three for every two cores")
    time_factor: float = Field(
        1.0, ge=0.01, description="factor for time limits on a slower machine; part of the judge version"
    )


class Deduplicate(Spread):
    stage = "deduplicate"
    name: str = Field("deduplicate", description="name of the deployment; unique in the file")


class Score(Spread):
    stage = "score"
    name: str = Field("score", description="name of the deployment; unique in the file")
    folder: str = Field(description="folder of the reference policy")
    max_tokens: int = Field(2048, ge=2, description="maximum tokens of prompt and completion together")
    precision: Literal["fp32", "bf16", "bf16-weights"] = Field(
        "fp32", description="precision of the training that will use the scores"
    )


class Publish(Entry):
    stage = "publish"
    spec: str = Field(
        description=".toml or .sql file of a corpus, see `pipeline/corpora/publication.py`; read by every run"
    )

    def parameters(self, store: str) -> dict[str, Any]:
        return {"store": store, "spec_file": str(Path(self.spec).resolve())}


class Train(Entry):
    stage = "train"
    config: str = Field(description="TOML file of a run, see `trainer/README.md`; read by every run")
    repeat: bool = Field(False, description="start another run, in its own folder, after a finished one")

    def parameters(self, store: str) -> dict[str, Any]:
        return {"config": str(Path(self.config).resolve()), "repeat": self.repeat}


class Evaluate(Entry):
    stage = "evaluate"
    policy: str = Field("newest", description="policy id, run (its newest policy), folder, or `newest`")
    problems: str = Field("split = 'test'", description="SQL condition on `problems`")
    samples_per_problem: int = Field(10, ge=1, description="completions of each problem")
    max_new_tokens: int = Field(512, ge=1, description="a completion cut here is a failure")
    temperature: float = Field(1.0, gt=0, description="sampling temperature")
    seed: int = Field(0, description="of the sampling")


class Maintain(Entry):
    stage = "maintain"
    name: str = Field("maintain", description="name of the deployment; unique in the file")
    retention_hours: int | None = Field(
        None, ge=0, description="hours for which unused files are kept; default 168"
    )


class Chain(Entry):
    stage = "chain"
    name: str = Field("chain", description="name of the deployment; unique in the file")
    run: list[str] = Field(
        [],
        description="names of entries to run in this order; default: ingest, deduplicate, label, publish",
    )


class When(BaseModel):
    """An event: an entry runs as soon as the store has `labelled_rows` new verdicts."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field("", description="name of the automation; default: that of the entry")
    labelled_rows: int = Field(ge=1, description="new rows with a verdict since the last start")
    run: str = Field(description="name of the entry")


SECTIONS = ("ingest", "deduplicate", "label", "score", "publish", "train", "evaluate", "maintain")


class Schedule(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    store: str = Field(description="folder or URL of the store")
    timezone: str = Field("UTC", description="time zone of the cron times")
    runs_at_once: int = Field(4, ge=1, description="maximum number of simultaneous runs of one `spo serve`")
    heavy_at_once: int = Field(
        1, ge=1, description="maximum number of simultaneous runs on one machine that use all processors"
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
    def _check_timezone(cls, value: str) -> str:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError("unknown time zone; use a name such as Europe/Berlin") from None
        return value

    @model_validator(mode="after")
    def _check_names(self) -> Schedule:
        names = [entry.name for entry in self.entries()]
        if not names:
            raise ValueError(f"nothing to run; add one of the sections {', '.join(SECTIONS)}, chain")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two entries are named {twice[0]}; give one of them another name")
        for where, wanted in [
            *(("chain.run", n) for n in (self.chain.run if self.chain else [])),
            *(("when.run", w.run) for w in self.when),
        ]:
            if wanted not in names:
                raise ValueError(f"{where}: no entry is named {wanted}; the entries are: {', '.join(names)}")
        if self.chain and self.chain.name in self.chain.run:
            raise ValueError("chain.run: the chain cannot run itself; remove its name")
        return self

    def entries(self) -> Iterator[Entry]:
        """All entries, the chain last."""
        for section in SECTIONS:
            yield from getattr(self, section)
        if self.chain:
            yield self.chain

    def steps_of_chain(self) -> list[Entry]:
        """The entries that the chain runs, in order."""
        by_name = {entry.name: entry for entry in self.entries()}
        if self.chain and self.chain.run:
            return [by_name[name] for name in self.chain.run]
        deduplicate = list(self.deduplicate) or [Deduplicate()]
        return [*self.ingest, *deduplicate[:1], *(list(self.label) or [Label()])[:1], *self.publish]

    def thresholds(self) -> list[When]:
        """All `[[when]]`, each with a name."""
        return [
            when
            if when.name
            else when.model_copy(update={"name": f"{when.labelled_rows} new verdicts start {when.run}"})
            for when in self.when
        ]

    def location(self) -> str:
        """URL or absolute path of the store."""
        return self.store if "://" in self.store else str(Path(self.store).resolve())


def load_schedule(path: Path) -> Schedule:
    """Read and check a schedule file. Raises ScheduleError, with a one-line message, for any error in it."""
    try:
        schedule = Schedule.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise ScheduleError(
            f"{path}: {error.strerror}; give a TOML file (example: flows/README.md)"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScheduleError(f"{path}: not valid TOML: {error}") from error
    except ValidationError as error:
        raise ScheduleError(f"{path}: {'; '.join(map(_one_line, error.errors()))}") from error
    _check_files(path, schedule)
    return schedule


def _check_files(path: Path, schedule: Schedule) -> None:
    """Check at registration that files and adapters exist, not only when an entry runs."""
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
            raise ScheduleError(f"{path}: train {train.name}: {train.config} is not a file; fix `config`")


def _one_line(error: Any) -> str:
    """`ingest.0.adaptor: unknown key; did you mean adapter?`"""
    where = ".".join(str(part) for part in error["loc"]) or "file"
    if error["type"] == "extra_forbidden":
        known = _keys_at(Schedule, error["loc"][:-1])
        similar = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        return f"{where}: unknown key; " + (
            f"did you mean {similar[0]}?" if similar else f"the keys are: {', '.join(known)}"
        )
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" + (
        "" if error["type"] == "missing" or where == "file" else f" (the value is {error['input']!r})"
    )


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that a section may have; a number in the location is an index of a list."""
    for part in location:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            model = next(
                candidate
                for candidate in [annotation, *get_args(annotation)]
                if isinstance(candidate, type) and issubclass(candidate, BaseModel)
            )
    return list(model.model_fields)
