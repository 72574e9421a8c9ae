"""The stages of the word-problem pipeline, run from the repository's root: ``python -m gsm8k.stages.NAME``."""

import socrates  # noqa: F401  first: it sets what other libraries read from the environment
