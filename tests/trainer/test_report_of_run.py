"""The report of a run by `spo train`: the command trains, its policy is evaluated, and the page says what
the store says.
"""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from flows.cli import app
from pipeline.evaluation.report import write_report
from sandbox import Pool
from trainer.evaluation import evaluate
from trainer.policies import find_policy
from trainer.rollouts import SamplingSettings

CONFIG = """
run = "{folder}/runs/mine"
store = "{store}"
reference = "{reference}"
seed = 5
[training]
steps = 3
[mixture]
batch_sequences = 6
[[source]]
name = "human"
where = "j.origin = 'human'"
weight = 1.0
"""


def page_of(job, run: Path, folder: Path) -> str:
    return write_report(job.store, run, folder / "report").read_text().replace("\u202f", "")


def test_a_run_by_train_has_a_report_and_is_compared_with_its_reference(job, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text(CONFIG.format(folder=tmp_path, store=job.store.location, reference=job.folder))
    done = CliRunner().invoke(app, ["train", str(config)])
    assert done.exit_code == 0, done.output
    run = tmp_path / "runs" / "mine"
    before = page_of(job, run, tmp_path)
    assert "The reference policy reference has not been evaluated." in before
    assert "log π − log π_ref by source" in before and "<code>kl_samples</code>" in before

    problems = job.store.read("problems", ["problem_id", "statement", "split"]).sort("problem_id").head(12)
    settings = SamplingSettings(samples_per_problem=10, max_new_tokens=8)
    with Pool() as pool:
        for name in ("reference", "mine"):
            evaluate(job.store, pool, find_policy(job.store, name).load(), name, problems, settings)
    page = page_of(job, run, tmp_path)
    # Both policies are too small to solve anything.
    assert "Mean pass@10 went from 0.0% to 0.0% (0.0 points; 95 % interval 0.0 to 0.0, 12 problems)" in page
    assert "training did not help; any change is below 1.0 points. This is one seed" in page
    assert "<td>training.steps</td><td>3</td>" in page
