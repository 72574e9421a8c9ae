"""The run's log, and the two views of it."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from socrates.core.errors import DataError
from socrates.runs import log as runlog
from socrates.runs.log import ProgressBar, RunLog, duration, history, read_lines
from socrates.tools import watch

STEP = {
    "step": 1, "steps": 100, "loss": 1.0, "grad_norm": 0.5, "tokens": 512, "seconds": 0.5, "tokens_per_second": 1024.0,
    "memory_bytes": 2**30, "backup": None,
}  # fmt: skip


def step(log: RunLog, **changes: Any) -> None:
    log("step", **{**STEP, **changes})


def start(path: Path, resumed_from: int = 0, mark: str = "a" * 64) -> RunLog:
    return RunLog(path, usd_per_hour=3600.0, fingerprint=mark, resumed_from=resumed_from, steps=100)


def test_each_step_is_one_line_that_is_there_at_once_with_null_for_what_json_has_not(tmp_path):
    path = tmp_path / "runs" / "train.jsonl"
    log = start(path)
    step(log, loss=float("nan"), backup={"done": None, "waiting": [], "error": None})
    line = read_lines(path)[-1]
    told = line["event"], line["tokens_per_second"], line["backup"]["waiting"], line["loss"]
    assert told == ("step", 1024.0, [], None)


def test_the_cost_of_lost_steps_is_counted(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(runlog.time, "monotonic", lambda: clock[0])
    first = start(tmp_path / "train.jsonl")
    clock[0] = 7.0
    step(first)
    clock[0] = 100.0  # the machine was off
    second = start(tmp_path / "train.jsonl", resumed_from=0)
    clock[0] = 103.0
    assert second("end")["usd"] == pytest.approx(7.0 + 3.0)
    assert start(tmp_path / "train.jsonl", mark="b" * 64)("end")["usd"] == 0.0


def test_the_curve_leaves_out_what_a_resume_went_back_behind(tmp_path):
    path = tmp_path / "train.jsonl"
    log = start(path)
    for number in range(1, 8):
        step(log, step=number, loss=float(number))
    log("evaluate", step=6, eval_loss=1.0)
    log = start(path, resumed_from=4)
    step(log, step=5, loss=50.0)
    run = history(read_lines(path))
    assert [line["loss"] for line in run.steps] == [1.0, 2.0, 3.0, 4.0, 50.0]
    assert (run.evaluations, run.attempts) == ([], 2)


def test_a_line_torn_by_a_kill_is_passed_over_and_the_next_one_is_whole(tmp_path):
    path = tmp_path / "train.jsonl"
    log = start(path)
    step(log)
    with path.open("a") as file:
        file.write('{"event": "step", "usd": 1.0, "lo')
    step(start(path, resumed_from=1), step=2)
    assert [line["event"] for line in read_lines(path)] == ["start", "step", "start", "step"]


def shown(run: runlog.History, now: float = 0.0) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(watch.view(run, now))
    return console.export_text()


def test_the_view_shows_the_numbers_the_curves_and_a_failing_backup(tmp_path):
    path = tmp_path / "train.jsonl"
    assert "no run yet" in shown(history(read_lines(path)))
    log = start(path)
    for number in range(1, 41):
        behind = {"done": 10, "waiting": [20, 30], "error": "refused"}
        step(log, step=number, loss=4.0 - number / 20, backup=behind)
    log("evaluate", step=40, eval_loss=2.5)
    run = history(read_lines(path))
    text = shown(run, now=run.last["time"])
    parts = [
        "attempt 1: 40/100 steps",
        "30 s left",
        "2.0000",
        "2.5000",
        "1,024",
        "FAILING, 2 behind (refused)",
        "█",
        "▁",
    ]
    assert [part for part in parts if part not in text] == [] and "silent" not in text
    assert "silent for 10 min" in shown(run, now=run.last["time"] + 601)
    log("stop", reason="SIGTERM")
    assert "stopped: SIGTERM" in shown(history(read_lines(path)), now=run.last["time"] + 601)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", ""), (b"\xff\x00\n[1]\n", ""), (b'{"event": "step", "usd": "x"}\n', ""),
     (b'{"event": "step", "usd": 1}\n', "log.jsonl: not a training's log.* missing")],
)  # fmt: skip
def test_a_log_of_something_else_is_no_run_or_one_line(tmp_path, content, says):
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says) if says else contextlib.nullcontext():
        watch.watch(path, once=True)


@pytest.mark.parametrize(
    ("values", "bars"),
    [([1, 2, 3, 4, 5, 6, 7, 8], watch.BARS), ([2.0, 2.0], "▁▁"), ([1.0, None, 2.0], "▁ █"), ([None, None], "  "),
     ([], ""), ([*range(1000)], "▁▂▃▄▅▆▇█")],
)  # fmt: skip
def test_a_sparkline_is_at_most_as_wide_as_asked(values, bars):
    assert watch.sparkline(values, 8) == bars


def test_watching_does_not_import_torch(tmp_path):
    path = tmp_path / "train.jsonl"
    step(start(path))
    code = "import sys; from socrates.cli.__main__ import app\n"
    code += "app(standalone_mode=False); assert 'torch' not in sys.modules"
    for option, shown in (("--once", "1/100 steps"), ("--json", '"step": 1,')):
        command = [sys.executable, "-c", code, "watch", str(path), option]
        assert shown in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_progress_line_says_what_is_left_and_what_it_cost(capsys):
    progress = ProgressBar(every=2)
    line = STEP | {"usd": 2.2}
    progress(line)
    assert capsys.readouterr().err == ""
    progress(line | {"step": 2, "loss": 1.6661})
    assert (
        capsys.readouterr().err
        == "2/100 steps, 49 s left, 1,024 tokens/s, loss 1.6661, 1.0 GiB, $2.20, no backup\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(59, "59 s"), (60, "1 min"), (3600, "1 h 0 min"), (90061, "1 d 1 h")]
)
def test_durations_are_read_at_a_glance(seconds, text):
    assert duration(seconds) == text
