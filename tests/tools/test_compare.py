"""Two runs against each other: paired by cell, and equal to what each run reported."""

from pathlib import Path

import dvc.api
import polars as pl
import pytest
from dvc_data.index import DataIndexDirError

from benchmarks.evaluate_at_full_size import world
from socrates.core.errors import DataError
from socrates.core.params import flat
from socrates.evaluation.evaluate import Evaluation, evaluate
from socrates.evaluation.params import Evaluate
from socrates.survey.tables import CELL
from socrates.tools import compare
from tests.repositories import call

PARAMS = Evaluate(
    min_cell_size=2, constant_cells="exclude", draws=1, temperature=0.6, top_p=0.9, equivalence_margin=0.01,
    bootstrap=0, min_group_size=10, seed=1,
)  # fmt: skip


def run_of(adapter: float) -> Evaluation:
    """The evaluation of a made world whose adapter errs by so much; the people are always the same."""
    predictions, _ = world(6, 3, 2, 40, {"adapter": adapter, "base": 0.25}, seed=2)
    train = predictions["base"].select("study_id", "scale", "response")
    return evaluate(predictions, {name: Path(name) for name in predictions}, train, None, {}, PARAMS)


def test_two_runs_plot_the_same_cells():
    good, bad = (run_of(error).tables["distributions"] for error in (0.03, 0.4))
    assert good.select(CELL).unique().sort(CELL).equals(bad.select(CELL).unique().sort(CELL))


def test_compare_pairs_two_revisions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run_of(0.03)
    compare.TABLE.parent.mkdir(parents=True)
    result.tables["cell_scores"].write_csv(compare.TABLE)
    for command in ("git init -q", "git add .", "git commit -qm run"):
        call(tmp_path, command)
    worse = result.tables["cell_scores"].with_columns(pl.col("wasserstein") + 0.1, pl.col("crps") - 0.01)
    worse.write_csv(compare.TABLE)
    old, new = compare.read_scores("HEAD"), compare.read_scores("workspace")
    table = compare.compare(old, new, "adapter")
    found = {row["metric"]: row for row in table.iter_rows(named=True)}
    assert found["wasserstein"]["difference"] == pytest.approx(0.1)
    assert found["wasserstein"]["sign"] == 1
    assert found["mae"]["sign"] == found["accuracy"]["sign"] == 0
    assert (found["crps"]["difference"], found["crps"]["sign"]) == (pytest.approx(-0.01), -1)
    reported = dict(flat(result.metrics["adapter"]))
    means = {key: row["a"] for key, row in found.items()}
    assert means == pytest.approx({key: reported[key] for key in found}, abs=1e-5)
    older = compare.compare(old.drop("crps"), new, "adapter")  # a run from before the metric
    assert older.height == len(found) - 1
    assert "| worse |" in compare.markdown(table, "HEAD", "workspace")
    for wrong in ("nowhere", f"HEAD:{compare.TABLE}"):
        with pytest.raises(DataError, match=f"at revision {wrong}"):
            compare.read_scores(wrong)
    call(tmp_path, "git update-ref refs/exps/ab/cdef/wally-rale HEAD")  # as dvc exp run names its commits
    assert compare.read_scores("wally-rale").equals(old)
    call(tmp_path, "git update-ref refs/exps/12/3456/wally-rale HEAD")
    with pytest.raises(DataError, match="ambiguous"):
        compare.read_scores("wally-rale")


def test_a_run_whose_files_are_in_no_cache_says_what_fetches_them(monkeypatch):
    def read(*_, **__):
        raise DataIndexDirError("failed to load directory", ("models", "adapter"))

    monkeypatch.setattr(dvc.api, "read", read)
    with pytest.raises(DataError, match=r"models/adapter/training.json at revision main: .* run dvc pull"):
        compare.read_at("main", Path("models/adapter/training.json"), str)


def test_folds_are_one_run_over_all_studies_and_each_is_tested_once():
    whole = run_of(0.03).tables["cell_scores"]
    studies = whole["study_id"].unique().sort()
    folds = {f"fold-{i}": whole.filter(pl.col("study_id").is_in(studies[i::3].implode())) for i in range(3)}
    joined = compare.join_folds(folds)
    found, expected = (
        compare.beside_baseline(table.sort(*CELL, "predictor"), "adapter", "base")
        for table in (joined, whole)
    )
    assert found.equals(expected)
    first = found.row(0, named=True)
    means = whole.group_by("predictor", "study_id").agg(pl.col(first["metric"]).mean())
    adapter, base = (means.filter(predictor=name)[first["metric"]].mean() for name in ("adapter", "base"))
    assert first["difference"] == pytest.approx(adapter - base)
    with pytest.raises(DataError, match="tested in fold-0 and in again"):
        compare.join_folds({**folds, "again": folds["fold-0"]})
