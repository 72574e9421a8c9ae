"""The stages of the word-problem pipeline, run from the repository's root: ``python -m gsm8k.stages.NAME``."""

import stages  # noqa: F401  what every stage's process begins with
