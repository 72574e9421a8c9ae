"""A stage that counts, checkpoints as training does, and dies at ``SOCRATES_TEST_KILL``: no torch, so that DVC's ways
of running it can be tried cheaply. Prints where it starts from; writes ``out.txt``."""

import os
import signal
from pathlib import Path

from socrates.runs import checkpoints
from socrates.runs.fingerprint import fingerprint, run_directory_lock

STEPS = 6
CONFIG = {"params.steps": STEPS}


def main() -> None:
    with run_directory_lock("count", CONFIG) as folder:
        checkpoints.clean_incomplete(folder)
        newest = checkpoints.newest_complete(folder)
        start = 0 if newest is None else int((newest / "count").read_text())
        with Path(os.environ["SOCRATES_TEST_STARTS"]).open("a") as starts:
            starts.write(f"{start}\n")
        for step in range(start + 1, STEPS + 1):
            checkpoint = folder / checkpoints.name(step)
            checkpoint.mkdir()
            (checkpoint / "count").write_text(str(step))
            checkpoints.write_manifest(checkpoint, fingerprint=fingerprint(CONFIG))
            if os.environ["SOCRATES_TEST_KILL"] == str(step):
                os.kill(os.getpid(), signal.SIGKILL)
            if os.environ["SOCRATES_TEST_KILL"] == f"{step}:all":
                os.killpg(0, signal.SIGKILL)  # DVC too, as when the machine dies
    Path("out.txt").write_text(str(STEPS))


if __name__ == "__main__":
    main()
