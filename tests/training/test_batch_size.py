"""The micro batch that is found by trying, with a memory of our own in place of a GPU's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from socrates.core.errors import TrainingError
from socrates.core.files import read_table
from socrates.core.params import load
from socrates.model import loading
from socrates.model.encoding import Encoded, encode
from socrates.model.loading import load_tokenizer
from socrates.model.params import Model
from socrates.runs.params import Run
from socrates.survey.tables import RESPONSES
from socrates.training import batch_size
from socrates.training.collator import Rows
from socrates.training.config import TrainParams
from socrates.training.params import Deepspeed, Lora, Train
from tests.small_models import write_models


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write_models(folder)
    return folder


def found(project: Path, share: int, **train: Any) -> int:
    """The micro batch found for all training rows, each of them twice in the schedule."""
    table = read_table(project / "data/splits/train.parquet", RESPONSES)
    data = encode(table, load_tokenizer(project / "models/base"), "scenario_first")
    order = np.tile(np.arange(len(data)), 2)
    sections = [load(section, project / "params.yaml") for section in (Model, Lora, Deepspeed, Run)]
    section = load(Train, project / "params.yaml").model_copy(update=train)
    rows = Rows(data, order, order)
    return batch_size.find_micro_batch_size(
        project / "models/base", TrainParams(*sections), section, rows, share
    )


@pytest.mark.parametrize(
    ("share", "room", "size"), [(64, 20, 16), (64, 64, 64), (64, 1, 1), (60, 11, 10), (7, 6, 1)]
)
def test_the_largest_divisor_that_fits_is_found(
    share: int, room: int, size: int, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds(room, monkeypatch)
    assert found(project, share) == size


def holds(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the memory hold ``room`` rows."""

    def attempt(model: Any, data: Encoded, rows: np.ndarray, shared: bool) -> None:
        if len(rows) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(batch_size, "forward_backward", attempt)
    monkeypatch.setattr(batch_size, "_trainable", lambda *_: None)


def test_a_row_that_does_not_fit_says_what_to_lower(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holds(0, monkeypatch)
    with pytest.raises(TrainingError, match="not even one row fits"):
        found(project, 8)


def test_another_error_is_not_taken_for_a_full_memory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(batch_size, "forward_backward", broken)
    with pytest.raises(RuntimeError, match="something else"):
        found(project, 8)


@pytest.mark.parametrize("shared", [True, False])
def test_the_longest_rows_are_tried_forward_and_backward(
    shared: bool, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[np.ndarray, np.ndarray]] = []
    forward_backward = batch_size.forward_backward

    def full_at_three(model: Any, data: Encoded, rows: np.ndarray, shared: bool) -> None:
        if len(rows) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        forward_backward(model, data, rows, shared)
        assert all(weight.grad is None for weight in model.parameters())
        tried.append((rows, data.lengths()))

    monkeypatch.setattr(batch_size, "forward_backward", full_at_three)
    assert found(project, 8, share_scenario=shared) == 2
    ((rows, lengths),) = tried
    assert len(set(rows)) == 2 and lengths[rows].tolist() == sorted(lengths, reverse=True)[:2]


def test_the_adapter_is_tried_in_the_type_it_is_trained_in(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    types: set[torch.dtype] = set()

    def noted(model: Any, *_: Any) -> None:
        types.update(weight.dtype for weight in model.parameters() if weight.requires_grad)

    monkeypatch.setattr(batch_size, "forward_backward", noted)
    monkeypatch.setattr(loading, "compute_dtype", lambda: torch.bfloat16)  # as on a GPU
    found(project, 8)
    assert types == {torch.bfloat16}
