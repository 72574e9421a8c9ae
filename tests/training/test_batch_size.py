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
from socrates.model import loading as base
from socrates.model.encoding import Encoded, encode
from socrates.model.loading import load_tokenizer
from socrates.model.params import Model
from socrates.survey.tables import RESPONSES
from socrates.training import batch_size as micro
from socrates.training.params import Lora, Train
from socrates.training.schedule import CPU_MICRO, batches
from tests import tiny
from tests.small_models import write_models

TRAIN = load(Train, tiny.ROOT / "params.yaml")


class Memory:
    """Holds so many rows and no more; remembers what was tried."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.tried: list[int] = []

    def __call__(self, size: int) -> None:
        self.tried.append(size)
        if size > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    "share, room, found", [(64, 20, 16), (64, 64, 64), (64, 1, 1), (60, 11, 10), (7, 6, 1)]
)
def test_the_largest_divisor_that_fits_is_found(share: int, room: int, found: int) -> None:
    memory = Memory(room)
    assert micro.largest(share, memory) == found
    assert memory.tried == sorted(memory.tried) and sum(size > room for size in memory.tried) <= 1


def test_a_row_that_does_not_fit_says_what_to_lower() -> None:
    with pytest.raises(TrainingError, match="not even one row fits"):
        micro.largest(8, Memory(0))


def test_another_error_is_not_taken_for_a_full_memory() -> None:
    def broken(size: int) -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        micro.largest(8, broken)


def test_what_was_found_cuts_the_step_and_null_has_a_default_without_a_gpu() -> None:
    train = TRAIN.model_copy(update={"global_batch": 64, "micro_batch": None})
    assert batches(train, 1000, 1).micro == CPU_MICRO
    cut = batches(train, 1000, 2, found=8)
    assert (cut.micro, cut.accumulation) == (8, 4)
    assert batches(train.model_copy(update={"micro_batch": 4}), 1000, 2, found=8).micro == 4


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write_models(folder)
    return folder


@pytest.mark.parametrize("shared", [True, False])
def test_the_longest_rows_are_tried_forward_and_backward(
    shared: bool, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read_table(project / "data/splits/train.parquet", RESPONSES)
    data = encode(table, load_tokenizer(project / "models/base"), "scenario_first")
    tried: list[np.ndarray] = []
    one_pass = micro.one_pass

    def full_at_three(model: Any, data: Encoded, rows: np.ndarray, shared: bool) -> None:
        if len(rows) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        one_pass(model, data, rows, shared)
        assert all(weight.grad is None for weight in model.parameters())
        tried.append(rows)

    monkeypatch.setattr(micro, "one_pass", full_at_three)
    train = TRAIN.model_copy(update={"global_batch": 8, "micro_batch": None, "share_scenario": shared})
    params = load(Model, project / "params.yaml")
    lora = load(Lora, project / "params.yaml")
    found = micro.find(project / "models/base", params, lora, train, data, np.arange(len(data)), 1)
    assert found == 2 and [len(rows) for rows in tried] == [1, 2]
    lengths = data.lengths()
    assert lengths[tried[1]].tolist() == sorted(lengths, reverse=True)[:2]


def test_the_adapter_is_tried_in_the_type_it_is_trained_in(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read_table(project / "data/splits/train.parquet", RESPONSES)
    data = encode(table, load_tokenizer(project / "models/base"), "scenario_first")
    types: set[torch.dtype] = set()

    def noted(model: Any, *_: Any) -> None:
        types.update(weight.dtype for weight in model.parameters() if weight.requires_grad)

    monkeypatch.setattr(micro, "one_pass", noted)
    monkeypatch.setattr(base, "compute_dtype", lambda: torch.bfloat16)  # as on a GPU
    params, lora = (load(section, project / "params.yaml") for section in (Model, Lora))
    micro.find(project / "models/base", params, lora, TRAIN, data, np.arange(len(data)), 1)
    assert types == {torch.bfloat16}
