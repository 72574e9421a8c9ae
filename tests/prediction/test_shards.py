"""Prediction in batches, by several processes, and after a kill: always the same table."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from ruamel.yaml import YAML

from socrates.core.errors import ModelError
from socrates.core.params import load, read_yaml
from socrates.model.encoding import encode
from socrates.model.params import Model, Prompt
from socrates.prediction import distributions as module
from socrates.prediction import shards
from socrates.prediction.distributions import ScoringPlan
from socrates.prediction.params import Predict
from socrates.prediction.predict import PredictionInputs
from socrates.runs.launch import Process
from tests import forked, tiny
from tests.small_models import predict_table

LAYOUTS = ["scenario_first", "persona_first"]


def plan(layout="scenario_first", people=8, copies=1):
    table = pl.concat([tiny.rows(people)] * copies)
    tokenizer = tiny.tokenizer()
    return ScoringPlan(tokenizer, encode(table, tokenizer, layout), table["scale"].to_list()), table


def greedy(job, scales, tokens_per_batch):
    """What cut() means, row by row."""
    data = job.data
    lengths = [len(data.suffix_ids(row)) for row in range(len(data))]
    alike = data.scenario_of_row if data.layout == "scenario_first" else lengths
    batches, tokens, last = [], 0, None
    for row in sorted(job.rows, key=lambda row: (scales[row], alike[row], row)):
        own = lengths[row] + job.tries[scales[row]].nodes
        stem = len(data.prefix_ids(row))
        same = last is not None and data.scenario_of_row[last] == data.scenario_of_row[row]
        cost = own if same else own + stem
        if last is None or scales[last] != scales[row] or tokens + cost > tokens_per_batch:
            batches.append([])
            tokens, cost = 0, own + stem
        batches[-1].append(int(row))
        tokens, last = tokens + cost, row
    return batches


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("tokens_per_batch", [64, 300, 1000, 10**6])
def test_batches_are_filled_row_by_row(layout, tokens_per_batch):
    made, table = plan(layout, people=20)
    batches = list(made.batches(tokens_per_batch))
    expected = greedy(made, table["scale"].to_list(), tokens_per_batch)
    assert [batch.rows.tolist() for batch in batches] == expected
    assert all(made.tokens(batch) <= tokens_per_batch or len(batch.rows) == 1 for batch in batches)


def test_a_model_with_nan_in_its_weights_is_refused(tmp_path):
    made, _ = plan()
    model = tiny.model()
    next(model.parameters()).data.fill_(float("nan"))
    with pytest.raises(ModelError, match="its weights are damaged"):
        shards.write_shard(tmp_path, 0, [made.score(model, next(made.batches(1000)))])


def test_a_damaged_shard_counts_as_none(tmp_path, caplog):
    made, _ = plan()
    batch = next(made.batches(1000))
    shards.write_shard(tmp_path, 0, [made.score(tiny.model(), batch)])
    assert shards.whole(tmp_path, 0) and not shards.whole(tmp_path, 1)
    path, content = shards.shard_path(tmp_path, 0), shards.shard_path(tmp_path, 0).read_bytes()
    middle = len(content) // 3
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    for damaged in (b"", content[:100], content[:-30], flipped):
        path.write_bytes(damaged)
        assert not shards.whole(tmp_path, 0)
    assert "part-000000.npz: damaged" in caplog.text


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_identical_prompt_is_computed_once(layout, monkeypatch):
    made, table = plan(layout, people=4, copies=3)
    computed = []

    def note(model, data, trie, rows):
        computed.extend(rows)
        return np.zeros((len(rows), len(trie.paths)), np.float32)

    monkeypatch.setattr(module, "_log_probabilities", note)
    found = made.expand(made.score(tiny.model(), batch) for batch in made.batches(10**6))
    assert sorted(computed) == list(range(len(table) // 3))
    assert len(found.probabilities) == len(table)


def test_what_ran_out_of_memory_is_halved_to_the_same_answers_and_not_tried_again(monkeypatch):
    made, _ = plan(people=12)
    model, batch = tiny.model(), next(made.batches(10**6))
    whole, compute, sizes = made.score(model, batch), module._log_probabilities, []

    def small(model, data, trie, rows):
        sizes.append(len(rows))
        if len(rows) > 3:
            raise torch.OutOfMemoryError
        return compute(model, data, trie, rows)

    monkeypatch.setattr(module, "_log_probabilities", small)
    halved = made.score(model, batch)
    assert halved.rows.tolist() == batch.rows.tolist()
    np.testing.assert_allclose(halved.probabilities.values, whole.probabilities.values, rtol=1e-4, atol=1e-6)
    assert max(sizes) == 12 and made.max_tokens_per_batch < made.tokens(batch)
    sizes.clear()
    made.score(model, batch)
    assert max(sizes) <= 3


def test_too_little_memory_for_one_respondent_is_one_clear_line(monkeypatch):
    made, _ = plan(people=3)

    def never(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(module, "_log_probabilities", never)
    with pytest.raises(ModelError, match=r"out of memory with one respondent .* predict\.max_options"):
        made.score(tiny.model(), next(made.batches(10**6)))


@pytest.fixture(scope="module")
def ready(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything before predict has run, on a random model."""
    folder = tmp_path_factory.mktemp("ready")
    raw = read_yaml(tiny.ROOT / "params.yaml")
    raw["model"]["quantization"] = "none"
    raw["prompt"]["max_length"] = 320
    raw["predict"]["tokens_per_batch"] = 400
    YAML().dump(raw, folder / "params.yaml")
    (folder / "data/splits").mkdir(parents=True)
    rows, filling = tiny.rows(12), pl.lit("word " * 400) + pl.col("stimuli")
    long = pl.when(participant=5).then(filling).otherwise("stimuli")
    rows.with_columns(stimuli=long).write_parquet(folder / "data/splits/test.parquet")
    for split in ("train", "val"):  # one shard of validation
        rows.head(1).write_parquet(folder / f"data/splits/{split}.parquet")
    (folder / "models").symlink_to(made / "models")
    return folder


def inputs(ready: Path, folder: Path) -> Path:
    """A folder of its own on the same inputs."""
    (folder / "data").mkdir(parents=True)
    for name in ("params.yaml", "models", "data/splits"):
        (folder / name).symlink_to(ready / name)
    return folder


def outputs(folder: Path) -> dict[str, bytes]:
    files = sorted((folder / "data/predictions").rglob("*.*"))
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def done(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prediction by one process."""
    folder = inputs(ready, tmp_path_factory.mktemp("done") / "run")
    result = forked.captured(forked.stage, "stages.predict", folder, None, "base")
    assert result.returncode == 0, result.stderr
    assert "33 of 36 rows; excluded: longer than prompt.max_length 3" in result.stdout
    return folder


def test_the_stage_writes_what_predicting_in_memory_gives(ready: Path, done: Path) -> None:
    test = pl.read_parquet(ready / "data/splits/test.parquet")
    sections = [load(section, ready / "params.yaml") for section in (Model, Prompt, Predict)]
    table, manifest = predict_table(test, PredictionInputs(ready / "models/base", None, *sections))
    assert table.equals(pl.read_parquet(done / "data/predictions/base/predictions.parquet"))
    assert manifest == json.loads(outputs(done)["base/manifest.json"])
    assert manifest["excluded"]["longer than prompt.max_length"] == 3
    assert table["sample_id"].to_list() == [n for n in test["sample_id"] if n // 3 != 5]


def test_two_processes_write_the_same_bytes(ready: Path, done: Path, tmp_path: Path) -> None:
    folder = inputs(ready, tmp_path / "run")
    assert forked.captured(forked.stage, "stages.predict", folder, None, "base", ranks=2).returncode == 0
    assert outputs(folder) == outputs(done)


def noting(folder: Path, most: int) -> None:
    """The stage, which notes the shards that it writes and dies after so many; for a process of its own."""
    write, written = shards.write_shard, []

    def write_and_note(place: Path, number: int, parts: Any) -> None:
        write(place, number, parts)
        written.append(str(number))
        (folder / "written").write_text(" ".join(written))
        if len(written) == most:
            (place / ".part-000009.npz.torn.partial").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)

    shards.write_shard = write_and_note
    forked.stage("stages.predict", folder, None, "base")


def test_a_killed_prediction_goes_on(ready: Path, done: Path, tmp_path: Path) -> None:
    folder = inputs(ready, tmp_path / "run")
    assert forked.in_process(noting, folder, 4) == -signal.SIGKILL
    assert not (folder / "data/predictions/base").exists()
    parts = sorted((folder / "scratch/predict").glob("*/part-*.npz"))
    assert [path.name for path in parts] == [f"part-{n:06d}.npz" for n in range(3)]
    assert forked.in_process(noting, folder, 99) == 0
    computed = (folder / "written").read_text().split()
    assert "3" in computed and "2" not in computed
    assert outputs(folder) == outputs(done)
    assert not list((folder / "scratch/predict").iterdir())  # the parts have done their work


def test_every_shard_belongs_to_exactly_one_process(tmp_path: Path) -> None:
    made, _ = plan(people=20)
    batches = list(made.batches(300))
    cut = shards.cut_shards(batches, len(made.rows))
    assert [batch for shard in cut for batch in shard] == batches
    for rank in range(3):
        shards.compute_shards(made, cut, tmp_path, Process(rank, 3), tiny.model, "predict")
        assert len(list(tmp_path.iterdir())) == sum(n % 3 <= rank for n in range(len(cut)))
    found = made.expand(shards.read_shard(tmp_path, n) for n in range(len(cut)))
    alone = made.expand(made.score(tiny.model(), batch) for batch in batches)
    np.testing.assert_array_equal(found.probabilities.values, alone.probabilities.values)
    np.testing.assert_array_equal(found.mass, alone.mass)
