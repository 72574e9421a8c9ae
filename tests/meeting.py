"""A stage that only initialises its process group: what a launcher starts is seen without training anything."""

import os
import signal
import sys
import time
from pathlib import Path

from socrates.core.errors import run
from socrates.runs.launch import barrier, broadcast_object, init_process_group, launch
from socrates.runs.signals import STARTER


def main() -> None:
    process = launch("tests.meeting", *sys.argv[1:])
    if process is None:
        return
    init_process_group(process)
    first = broadcast_object(process, os.getpid())
    Path(f"met-{process.rank}").write_text(f"{process.world_size} {first}")
    barrier(process)
    if "notice" in sys.argv:
        if process.is_main:
            os.kill(int(os.environ.get(STARTER, os.getpid())), signal.SIGTERM)
        time.sleep(600)
    if "fail" in sys.argv and not process.is_main:
        raise SystemExit(3)
    if "die" in sys.argv and not process.is_main:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    run(main)
