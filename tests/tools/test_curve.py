"""Runs against a setting: what is read from each revision, and what is told of them."""

import json

import pytest
from ruamel.yaml import YAML

from socrates.core.errors import DataError
from socrates.tools import curve
from tests.repositories import call


@pytest.fixture
def two_runs(tmp_path, monkeypatch):
    """A repository whose last two commits are runs with 3 and with 30 people a cell."""
    folder = tmp_path / "project"
    for path in ("metrics", "models/adapter"):
        (folder / path).mkdir(parents=True)
    call(folder, "git init -q")
    call(folder, "dvc init -q")
    for people, w in ((3, 0.3), (30, 0.2)):
        YAML().dump({"sample": {"max_per_cell": people}}, folder / "params.yaml")
        found = {"wasserstein": w, "wasserstein_low": w - 0.1, "wasserstein_high": w + 0.1, "crps": w / 2}
        headline = {f"adapter.{name}": value for name, value in found.items()}
        (folder / "metrics/headline.json").write_text(json.dumps(headline))
        (folder / "models/adapter/training.json").write_text(json.dumps({"tokens": 1000 * people}))
        call(folder, "git add -A")
        call(folder, "git commit -qm run")
    monkeypatch.chdir(folder)
    return "HEAD~1", "HEAD"


def test_each_run_is_read_at_its_revision_and_told_in_a_table_and_a_figure(two_runs):
    key = "sample.max_per_cell"
    points = [curve.read_point(run, key, "adapter") for run in two_runs]
    found = [(point[key], point["tokens"], point["wasserstein"]) for point in points]
    assert found == [(3, 3000, 0.3), (30, 30000, 0.2)]
    table = curve.markdown(points, key).splitlines()
    assert table[2] == "| 3 | 3,000 | 0.300 (0.200 to 0.400) |  | 0.150 |  |  |"
    assert curve.draw(points, key, "adapter").count("<svg") == 1
    revision = "params.yaml at revision nowhere: .*nowhere.*; name another, or run dvc repro"
    for run, name, predictor, told in (
        ("nowhere", key, "adapter", revision),
        ("HEAD", "sample.none", "adapter", "sample.none: no such parameter"),
        ("HEAD", key, "gpt", "has no predictor gpt"),
    ):
        with pytest.raises(DataError, match=told) as refusal:
            curve.read_point(run, name, predictor)
        assert "\n" not in str(refusal.value)
