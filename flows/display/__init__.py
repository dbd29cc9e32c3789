"""Terminal output: tables, progress, and the figures of a training run."""
