"""Rows of a pass and checkpointing, found by trying, with a memory of our own in place of a GPU's."""

import numpy as np
import pytest
import torch

from socrates.core.errors import TrainingError
from socrates.core.files import read_table
from socrates.core.params import load
from socrates.model import loading
from socrates.model.encoding import encode
from socrates.model.loading import load_tokenizer
from socrates.model.params import Model
from socrates.runs.params import Run
from socrates.survey.tables import RESPONSES
from socrates.training import batch_size
from socrates.training.collator import Rows, by_pass, pass_tokens
from socrates.training.config import TrainParams
from socrates.training.params import Deepspeed, Lora, Train
from socrates.training.schedule import plan_batches
from tests.small_models import write_models


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    write_models(folder)
    return folder


def schedule(project, share):
    """Rows, in their order for two steps of ``share``."""
    table = read_table(project / "data/splits/train.parquet", RESPONSES)
    data = encode(table, load_tokenizer(project / "models/base"), "scenario_first")
    order = np.resize(np.arange(len(data)), 2 * share)
    return Rows(data, order, order)


def found(project, share, **train):
    """The plan found for steps of ``share`` rows, where nothing is said of passes and checkpointing."""
    sections = [load(section, project / "params.yaml") for section in (Model, Lora, Deepspeed, Run)]
    changes = {"global_batch": share, "micro_batch": None, "gradient_checkpointing": None, **train}
    section = load(Train, project / "params.yaml").model_copy(update=changes)
    plan, rows = plan_batches(section, 2 * share, 1), schedule(project, share)
    return batch_size.find_plan(project / "models/base", TrainParams(*sections), section, rows, plan)


class Card:
    """A memory that holds so many rows a pass, by checkpointing, and computes them in so many seconds."""

    def __init__(self, monkeypatch, room, seconds):
        self.room, self.seconds, self.every, self.now, self.tried = room, seconds, 0, 0.0, []
        monkeypatch.setattr(batch_size, "_trainable", lambda *_: None)
        monkeypatch.setattr(batch_size, "checkpoint", lambda _, every: setattr(self, "every", every))
        monkeypatch.setattr(batch_size, "forward_backward", self.attempt)
        monkeypatch.setattr(batch_size.time, "perf_counter", lambda: self.now)

    def attempt(self, model, data, rows):
        if len(rows) > self.room[self.every]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        self.tried.append(rows)
        self.now += self.seconds[self.every] * len(rows)


@pytest.mark.parametrize(
    ("share", "room", "size"), [(64, 20, 16), (64, 64, 64), (64, 1, 1), (60, 11, 10), (7, 6, 1)]
)
def test_the_largest_divisor_that_fits_is_found(share, room, size, project, monkeypatch):
    Card(monkeypatch, dict.fromkeys((0, 1, 2), room), dict.fromkeys((0, 1, 2), 1.0))
    plan, _ = found(project, share)
    assert (plan.micro_batch_size, plan.grad_accum_steps) == (size, share // size)


@pytest.mark.parametrize(
    ("room", "seconds", "chosen"),
    [
        ({0: 8, 2: 16, 1: 64}, {0: 4.0, 2: 5.0, 1: 6.0}, (8, 0)),  # what keeps most computes least
        ({0: 8, 2: 16, 1: 64}, {0: 9.0, 2: 7.0, 1: 8.0}, (16, 2)),  # but small passes may be slower
        ({0: 0, 2: 0, 1: 4}, {0: 1.0, 2: 1.0, 1: 9.0}, (4, 1)),  # and what does not fit is no choice
    ],
)
def test_passes_and_checkpointing_are_chosen_together_by_speed_and_it_is_said(
    room, seconds, chosen, project, monkeypatch
):
    Card(monkeypatch, room, seconds)
    plan, said = found(project, 64)
    assert (plan.micro_batch_size, plan.checkpointed) == chosen
    assert said.startswith(f"passes of {chosen[0]} rows, {batch_size.CHECKPOINTED[chosen[1]]} (tried: ")
    assert said.count("rows/s") == sum(fits > 0 for fits in room.values())


def test_what_params_say_is_kept(project, monkeypatch):
    card = Card(monkeypatch, {0: 8, 1: 64}, {0: 4.0, 1: 6.0})
    assert found(project, 64, gradient_checkpointing=True)[0].checkpointed == 1
    card.room = {0: 64, 2: 64, 1: 64}
    card.seconds = {0: 1.0, 2: 2.0, 1: 3.0}
    plan, _ = found(project, 64, micro_batch=4)
    assert (plan.micro_batch_size, plan.grad_accum_steps, plan.checkpointed) == (4, 16, 0)


def test_memory_is_tried_with_the_longest_pass_of_the_schedule(project, monkeypatch):
    card = Card(monkeypatch, {0: 8}, {0: 1.0})
    found(project, 64, gradient_checkpointing=False)
    rows = schedule(project, 64)
    (longest,) = pass_tokens(rows.data, card.tried[0], 8)
    assert longest == pass_tokens(rows.data, by_pass(rows, 64, 8), 8).max()


def test_a_row_that_does_not_fit_says_what_to_lower(project, monkeypatch):
    Card(monkeypatch, dict.fromkeys((0, 1, 2), 0), {})
    with pytest.raises(TrainingError, match="not even one row fits"):
        found(project, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_trial_computes_what_training_computes(dtype, project, monkeypatch):
    """Forward and backward of every kind, with no gradient left, and the adapter in the type of training."""
    forward_backward = batch_size.forward_backward
    seen = set()

    def noted(model, *args):
        forward_backward(model, *args)
        assert all(weight.grad is None for weight in model.parameters())
        types = {weight.dtype for weight in model.parameters() if weight.requires_grad}
        seen.update((one, model.is_activation_checkpointing) for one in types)

    monkeypatch.setattr(batch_size, "forward_backward", noted)
    monkeypatch.setattr(loading, "compute_dtype", lambda: dtype)
    plan, said = found(project, 4)
    assert seen == {(dtype, False), (dtype, True)} and plan.micro_batch_size == 4
    assert said.count("rows/s") == 3
