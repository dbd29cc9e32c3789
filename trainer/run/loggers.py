"""Where a run's figures go beside `metrics.jsonl`: TensorBoard, trackio, Weights & Biases.

One interface, chosen by `loggers` in [training]. All of them write to the folder of the run and ask no host:
trackio keeps its own database there, and W&B is offline unless WANDB_MODE says otherwise
(`wandb sync FOLDER` sends the run later). Figures have names with slashes, as `sources/human/loss`. Samples
come with fresh rows and with validation. A step that a resumed run repeats is shown once.

`show` them: `tensorboard --logdir RUN/tensorboard`, `TRACKIO_DIR=RUN/trackio trackio show`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from trainer.run.checks import TrainingError
from trainer.run.settings import LoggerName

PROJECT = "spo"
SAMPLE_COLUMNS = ("problem", "verdict", "completion")
Sample = tuple[str, str, str]  # the columns


class Logger(Protocol):
    """Takes the figures of one run. `replaces`: it forgets what it has of a step that comes again."""

    replaces: bool

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """The figures of a step."""

    def log_samples(self, step: int, samples: Sequence[Sample]) -> None:
        """Some completions of the policy of a step, with their verdicts."""

    def close(self) -> None:
        """The run ends here, or stops to be resumed."""


class TensorBoard:
    """Event files, read by `tensorboard --logdir`."""

    replaces = True

    def __init__(self, folder: Path, run: str, first_step: int):
        # Through torch, whose writer needs the package alone and no TensorFlow.
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)

    def log_samples(self, step: int, samples: Sequence[Sample]) -> None:
        text = "\n\n".join(
            f"**{problem}** {verdict}\n\n{_indented(completion)}" for problem, verdict, completion in samples
        )
        self._writer.add_text("samples", text, step)

    def close(self) -> None:
        self._writer.close()


class Trackio:
    """trackio's database in the folder of the run."""

    replaces = False

    def __init__(self, folder: Path, run: str, first_step: int):
        os.environ.setdefault("TRACKIO_DIR", str((folder / "trackio").resolve()))
        import trackio

        self._trackio = trackio
        self._run = trackio.init(
            project=PROJECT,
            name=run,
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        self._run.log(dict(scalars), step=step)

    def log_samples(self, step: int, samples: Sequence[Sample]) -> None:
        import pandas

        table = self._trackio.Table(dataframe=pandas.DataFrame(samples, columns=SAMPLE_COLUMNS))
        self._run.log({"samples": table}, step=step)

    def close(self) -> None:
        self._run.finish()


class WeightsAndBiases:
    """An offline run below `wandb/` in the folder of the run."""

    replaces = False

    def __init__(self, folder: Path, run: str, first_step: int):
        import wandb

        self._wandb = wandb
        self._run = wandb.init(
            project=PROJECT,
            name=run,
            id=run.replace("/", "-"),
            resume="allow",
            dir=str(folder),
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        self._run.log(dict(scalars), step=step)

    def log_samples(self, step: int, samples: Sequence[Sample]) -> None:
        rows = [list(sample) for sample in samples]
        self._run.log({"samples": self._wandb.Table(columns=list(SAMPLE_COLUMNS), data=rows)}, step=step)

    def close(self) -> None:
        self._run.finish()


LOGGERS: dict[LoggerName, type[TensorBoard | Trackio | WeightsAndBiases]] = {
    "tensorboard": TensorBoard,
    "trackio": Trackio,
    "wandb": WeightsAndBiases,
}


def open_loggers(names: Collection[LoggerName], folder: Path, run: str, first_step: int) -> list[Logger]:
    """The loggers of a run. Raises TrainingError that names the extra, if a package is missing."""
    opened: list[Logger] = []
    for name in names:
        try:
            opened.append(LOGGERS[name](folder, run, first_step))
        except ImportError as error:
            raise TrainingError(
                f"{name} needs the extra `{name}` ({error.name} is missing): pip install 'spo[{name}]'"
            ) from error
    return opened


def scalars_of(figures: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a log line under names with slashes; table versions are excluded."""
    scalars: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, dict) and name != "watermark":
            scalars |= scalars_of(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            scalars[prefix + name] = float(value)
    return scalars


def _indented(text: str) -> str:
    """A block of code in Markdown; a fence could be closed by the text itself."""
    return "\n".join(f"    {line}" for line in text.splitlines())
