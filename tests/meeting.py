"""A stage that only meets: what a launcher starts is seen without training anything."""

import os
import signal
import sys
from pathlib import Path

from socrates.core.errors import run
from socrates.runs.launch import launch, meet, told_by_first, wait_for_all


def main() -> None:
    place = launch("tests.meeting", *sys.argv[1:])
    if place is None:
        return
    if "notice" in sys.argv:
        os.kill(os.getpid(), signal.SIGTERM)
    meet(place)
    first = told_by_first(place, os.getpid())
    Path(f"met-{place.rank}").write_text(f"{place.processes} {first}")
    wait_for_all(place)
    if "fail" in sys.argv and not place.first:
        raise SystemExit(3)


if __name__ == "__main__":
    run(main)
