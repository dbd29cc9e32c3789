"""The stream: weighted mixtures of stored trajectories, batch after batch, replayable from a few logged numbers."""

from trainer.data.stream import Mixture, Row, Source, Stream, generator

__all__ = ["Mixture", "Row", "Source", "Stream", "generator"]
