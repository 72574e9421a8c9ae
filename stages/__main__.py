"""``python -m stages [arguments of dvc repro]``: SIGTERM, SIGHUP and Ctrl+C reach the stage at work."""

import sys

from socrates.runs.signals import repro

repro(sys.argv[1:])
