"""Tab completes the words of ``python -m socrates`` in a real bash."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import model_folders

SCRIPT = """
eval "$(python -m socrates --completion bash)" || exit 1
COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _socrates; echo "${COMPREPLY[*]}"
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [("socrates pre", "predict prepare"), ("socrates predict --sc", "--scenario --scale")],
)
def test_words_are_completed(tmp_path: Path, words: str, expected: str) -> None:
    _, environment = model_folders.cli(folder=tmp_path)
    done = subprocess.run(
        ["bash", "-c", SCRIPT % words],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == expected.split()
    assert done.stderr == ""


def test_every_command_takes_json() -> None:
    import typer

    from socrates.cli.__main__ import app

    for name, command in typer.main.get_command(app).commands.items():
        if not command.hidden:
            assert any("--json" in option.opts for option in command.params), name
