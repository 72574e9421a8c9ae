"""The errors a user can cause, each one line that names file, key or row and what to do; how a stage ends on one."""

import sys
from collections.abc import Callable

TERMINATED = 75  # exit status after SIGTERM or SIGHUP: EX_TEMPFAIL, "try again later"; starting again resumes
INTERRUPTED = 130  # after Ctrl+C; starting again resumes


class SocratesError(Exception):
    """Something the user can mend. The message is shown without a traceback."""


class ParamsError(SocratesError):
    """params.yaml holds something that cannot be used."""


class DataError(SocratesError):
    """An input table or file cannot be used."""


class WriteError(SocratesError):
    """The file system refused a write."""


class SourceError(SocratesError):
    """A source (hub, folder, store) cannot be read."""


class ModelError(SocratesError):
    """A model, tokenizer or adapter cannot be used."""


class TrainingError(SocratesError):
    """Training stopped, or could not start."""


def run(main: Callable[[], None]) -> None:
    """Run a stage's ``main``; what the user can mend, a full disk too, becomes one line on stderr and exit status 1."""
    try:
        main()
    except (SocratesError, OSError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"error: {text}", file=sys.stderr)
        raise SystemExit(1) from None
