"""The stages of the word-problem pipeline, run from the repository's root: ``python -m gsm8k.stages.NAME``."""

import sys

import socrates  # noqa: F401  first: it sets what other libraries read from the environment
from socrates.runs import signals

if sys.argv[0] == "-m":  # as Python has it while it looks for the module: this is the stage's own process
    signals.begin()
