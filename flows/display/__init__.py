"""What the terminal shows: tables, progress, and the figures of a training run."""
