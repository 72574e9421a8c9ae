"""What the processes of one run wait for."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from socrates.launch import Place
from socrates.params import load
from socrates.params.backup import Backup
from socrates.params.deepspeed import Deepspeed
from socrates.params.grpo import Grpo
from socrates.params.model import Model
from socrates.params.train import Train
from socrates.training import grpo, safety, sft
from socrates.training.durable import Durability
from socrates.training.guards import Watchdog
from socrates.training.plan import Batches
from socrates.training.safety import Safety
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
    longest = 10 * 60 * load(Backup, PARAMS).finish_minutes
    assert sft.arguments(load(Train, PARAMS), deepspeed, cut).ddp_timeout > longest
    assert grpo.arguments(load(Grpo, PARAMS), model, deepspeed, cut).ddp_timeout > longest
