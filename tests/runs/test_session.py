"""What the processes of one run wait for."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gsm8k.grpo import trainer as grpo
from gsm8k.grpo.params import Grpo
from socrates.core.params import GSM8K_SECTIONS, load
from socrates.model.params import Model
from socrates.runs import session as safety
from socrates.runs.callbacks import Durability
from socrates.runs.guards import Watchdog
from socrates.runs.launch import Place
from socrates.runs.params import Run
from socrates.runs.session import Safety
from socrates.training import sft
from socrates.training.params import Deepspeed, Train
from socrates.training.schedule import Batches
from tests import tiny

PARAMS = tiny.ROOT / "params.yaml"


@pytest.mark.parametrize("first", [True, False])
def test_nobody_goes_on_alone_while_a_model_is_fetched_or_a_backup_finished(
    first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(safety, "wait_for_all", lambda place: done.append("met"))
    trainer: Any = SimpleNamespace(train=lambda **_: done.append("trained"), terminated=False)
    backup: Any = SimpleNamespace(drain=lambda seconds: done.append("drained")) if first else None
    Safety(Place(0 if first else 1, 2), Path(), None, Durability("", keep=1), None, backup).train(trainer, 30)
    assert done == (["met", "trained", "drained", "met"] if first else ["met", "trained", "met"])


def test_a_backup_may_take_longer_to_finish_than_a_step_may_take() -> None:
    trainer: Any = SimpleNamespace(train=lambda **_: None, terminated=False)
    backup: Any = SimpleNamespace(drain=lambda seconds: time.sleep(0.6))
    with Watchdog(0.2) as watchdog:
        durability = Durability("", keep=1, watchdog=watchdog)
        Safety(Place(0, 1), Path(), None, durability, None, backup).train(trainer, 30)


def test_processes_are_more_patient_with_the_first_than_its_backup_can_take() -> None:
    model, deepspeed, cut = load(Model, PARAMS), load(Deepspeed, PARAMS), Batches(1, 16, 1)
    run = load(Run, PARAMS)
    longest = 10 * 60 * run.backup.finish_minutes
    assert sft.arguments(load(Train, PARAMS), run, deepspeed, cut).ddp_timeout > longest
    assert (
        grpo.arguments(
            load(Grpo, PARAMS.parent / "gsm8k/params.yaml", GSM8K_SECTIONS), run, model, deepspeed, cut
        ).ddp_timeout
        > longest
    )
