"""What stops a run, and what does not."""

import os
import signal
import subprocess
import sys

import pytest

from socrates.core.errors import TERMINATED
from socrates.runs import guards, signals
from socrates.runs.guards import LossGuard, StopTraining, Termination


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setattr(guards, "SPIKE_STEPS", 4)


def feed(guard: LossGuard, losses: list[float]) -> None:
    for number, loss in enumerate(losses, start=1):
        guard(number, loss, 0.5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_or_gradient_that_is_not_finite_stops_at_once(bad):
    with pytest.raises(StopTraining, match="step 1: the loss is"):
        LossGuard(None)(1, bad, 0.5)
    with pytest.raises(StopTraining, match="step 1: the gradient norm is"):
        LossGuard(None)(1, 1.0, bad)


def test_a_loss_far_above_its_median_stops_after_so_many_steps():
    guard = LossGuard(multiple=3.0)
    said = r"step 34: the loss \(3.1\) .* for 4 steps; the checkpoints before step 31"
    with pytest.raises(StopTraining, match=said):
        feed(guard, [1.0] * 30 + [3.1] * 10)


def test_a_short_spike_passes_and_is_a_spike_while_it_lasts():
    guard = LossGuard(multiple=3.0)
    feed(guard, [1.0] * 30 + [9.0] * 3)
    assert guard.above
    feed(guard, [1.0])
    assert not guard.above
    feed(guard, [9.0] * 3)


def test_a_plateau_a_falling_loss_an_early_spike_and_an_untold_gradient_pass(monkeypatch):
    monkeypatch.setattr(guards, "SPIKE_STEPS", 1)
    feed(LossGuard(multiple=1.5), [5.0 / (1 + number / 10) for number in range(300)])
    feed(LossGuard(multiple=1.1), [1.0, 100.0] * (guards.WARM_UP // 2))
    feed(LossGuard(None), [0.0] * 50 + [9.0])
    LossGuard(3.0)(1, 1.0, None)


def program(text: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", text]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


STALLING = """
import time
from pathlib import Path
from socrates.runs.guards import Watchdog
watchdog = Watchdog(0.5 / 60, print, Path("nowhere"))
for _ in range(12):
    time.sleep(0.1)
    watchdog.heartbeat()
print("alive", flush=True)
time.sleep(60)
"""


def test_a_process_without_progress_says_so_and_ends_and_one_with_heartbeats_does_not():
    ended = program(STALLING)
    assert ended.returncode == guards.STALLED
    assert ended.stdout.startswith("alive\n")
    assert "error: no progress for 0.00833 minutes" in ended.stderr


def test_a_notice_is_remembered_and_the_former_handlers_come_back(tmp_path):
    former = [signal.getsignal(number) for number in signals.NOTICES]
    for number in signals.NOTICES:
        with Termination(1e6, tmp_path) as termination:  # its thread stays
            assert not termination.requested
            if number == signal.SIGHUP:
                continue  # it would take the output away from the tests
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
            assert termination.requested == number
    assert [signal.getsignal(number) for number in signals.NOTICES] == former


def test_what_nohup_has_switched_off_stays_off(tmp_path):
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Termination(600, tmp_path):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)


NOTICED = """
import os, signal, time
from pathlib import Path
from socrates.runs.guards import Termination
with Termination(0.3, Path("nowhere")):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # as a main thread that hangs in a collective
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""


def test_a_process_that_cannot_answer_sigterm_ends_with_its_status_all_the_same():
    ended = program(NOTICED)
    assert ended.returncode == TERMINATED
    assert "error: 0.3 s after SIGTERM" in ended.stderr
    assert ended.stderr.endswith("is lost; there is no checkpoint yet\n")


def test_the_time_left_after_sigterm_stops_short_of_the_end(tmp_path):
    with Termination(600, tmp_path) as termination:
        assert termination.left == float("inf")
        termination._request(signal.SIGTERM, None)  # not sent: the process would end
        assert 0 < termination.left <= 600 - guards.LEAVING
