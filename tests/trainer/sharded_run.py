"""One rank of a training run under torchrun: `sharded_run.py STORE REFERENCE FOLDER STEPS [STOP_AFTER]`."""

import sys
from pathlib import Path

import torch

from pipeline.store import Store
from trainer.loop import TrainSettings, train
from trainer.policy import load_policy
from trainer.reference import reference_fingerprint
from trainer.sharded import Sharded
from trainer.stream import Mixture, Source, Stream

SOURCES = [
    Source(name="human", where="j.origin = 'human'", weight=0.5),
    Source(name="samples", where="j.policy_id = 'reference'", weight=0.5),
]


def settings(steps: int) -> TrainSettings:
    return TrainSettings(steps=steps, checkpoint_every=2, learning_rate=1e-3, warmup_steps=1, batch_tokens=400, target_kl=1.0)


def stream_of(store: Store, policy) -> Stream:
    mixture = Mixture(batch_sequences=8, source=SOURCES)
    return Stream(store, mixture, reference=reference_fingerprint(policy), reference_policy="reference", beta=0.1, seed=0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    store, reference, folder, steps = Store(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    stop_after = int(sys.argv[5]) if len(sys.argv) > 5 else None
    ranks = Sharded.from_environment()

    def on_step(figures):
        if figures["step"] == stop_after:
            raise SystemExit(0)

    policy = load_policy(reference)
    train(policy, stream_of(store, policy), settings(steps), folder, on_step=on_step, ranks=ranks)
    ranks.close()
