"""The audit: what it calls same, different on purpose, wrong and not compared."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from socrates.cli.__main__ import app
from socrates.core.files import write_json
from socrates.core.params import parse, read_yaml
from socrates.evaluation.summary import KEYS
from socrates.tools.audit import audit
from socrates.tools.paper import PAPER
from socrates.tools.preset import apply

ROOT = Path(__file__).resolve().parents[2]
RUN = CliRunner()


@pytest.fixture
def project(tmp_path):
    """A project folder with the default params."""
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    return tmp_path


def use(folder, *presets):
    for preset in presets:
        apply(preset, folder / "params.yaml", ROOT / "presets")


def write_records(folder, w=0.26, people=36.0):
    """The records that the stages would write."""
    sections = parse(read_yaml(folder / "params.yaml"))
    params = {name: section.model_dump() for name, section in sections.items()}
    data, hub = params["data"], params["data"]["source"] == "hub"
    world = {"revision": data["revision"]} if hub else {"world": data["synthetic"]}
    kept = {"rows": 2901390 if hub else 17520, "studies": 210 if hub else 120}
    raw = {"source": data["source"], **world, "rows_read": kept["rows"], "kept": kept}
    write_json(folder / "data/raw/manifest.json", raw)
    parts = {
        name: {"rows": 1000, "studies": size, "study_ids": [f"{name}{i}" for i in range(size)]}
        for name, size in {"train": 152, "val": 18, "test": 40}.items()
    }
    write_json(folder / "data/splits/manifest.json", {"split": params["split"], "splits": parts})
    trained = {name: params[name] for name in ("model", "prompt", "lora", "train", "deepspeed")}
    record = {"params": trained, "rows": 1000, "trainable_parameters": 5, "rows_too_long": {"train": 0}}
    write_json(folder / "models/adapter/training.json", record)
    ends = {"wasserstein": w, "wasserstein_low": w - 0.02, "wasserstein_high": w + 0.02, "accuracy": 0.61}
    counts = {"answers": 990, "answers_excluded": {"adapter": {"no_scale_known": 10}}}
    counts["respondents_per_cell_median"] = people
    metrics = {name: {"drawn": ends} for name in ("adapter", "base")}
    metrics["uniform"] = {"drawn": {"wasserstein": 0.2015, "accuracy": 0.61}}
    write_json(folder / "metrics/evaluate.json", {**metrics, "counts": counts})


def edit(folder, **changes):
    path = folder / "params.yaml"
    params = read_yaml(path)
    for key, value in changes.items():
        section, name = key.split("__")
        params[section][name] = value
    YAML().dump(params, path)


def found(folder):
    return {row["item"]: SimpleNamespace(**row) for row in audit(folder)}


def test_the_demo_is_different_on_purpose_and_never_wrong(project):
    write_records(project)
    rows = found(project)
    assert not [row for row in rows.values() if row.verdict == "wrong"]
    assert rows["base model"].verdict == "different on purpose"
    assert "builtin/tiny-qwen2" in rows["base model"].reason
    assert "synthetic" in rows["studies in the dataset"].reason


@pytest.mark.parametrize("preset", sorted(path.stem for path in (ROOT / "presets").glob("*.yaml")))
def test_no_preset_is_wrong_before_its_run(project, preset):
    use(project, preset)
    rows = found(project).values()
    assert not [row for row in rows if row.verdict == "wrong"], preset
    assert all(row.verdict == "not compared" for row in rows if row.item.startswith("W of"))


def test_a_batch_that_no_parameter_excuses_is_wrong_and_strict_fails(project):
    use(project, "full")
    edit(project, train__global_batch=128)
    assert found(project)["answers per optimiser step"].verdict == "wrong"
    assert RUN.invoke(app, ["audit", "--folder", str(project)]).exit_code == 0
    strict = RUN.invoke(app, ["audit", "--folder", str(project), "--strict"])
    assert strict.exit_code == 1
    table = [line for line in strict.stdout.splitlines() if line.startswith("|")]
    assert "**wrong**" in table[2] and "| 256 | 128 |" in table[2]  # the wrong item comes first


@pytest.mark.parametrize(
    ("preset", "people", "verdict"),
    [("full", 20.0, "wrong"), ("full", 30.0, "same"), ("demo", 20.0, "different on purpose")],
)
def test_cells_of_few_people_are_wrong_where_the_truth_is_not_known(project, preset, people, verdict):
    use(project, preset)
    write_records(project, people=people)
    (row,) = [row for name, row in found(project).items() if name.startswith("respondents of a test cell")]
    assert row.verdict == verdict


@pytest.mark.parametrize(("preset", "r"), [("one-percent", 16), ("full", 32)])
def test_paper_settings_have_the_training_numbers_of_the_seeds(project, preset, r):
    use(project, preset, "paper-settings")
    params = read_yaml(project / "params.yaml")
    assert params["train"] | {
        "method": "sft", "global_batch": 256, "learning_rate": 1e-5, "epochs": 1.0, "max_steps": None,
        "warmup_ratio": 0.05, "weight_decay": 0.1,
    } == params["train"]  # fmt: skip
    assert (params["lora"]["r"], params["lora"]["alpha"], params["lora"]["dropout"]) == (r, 2 * r, 0.05)
    assert (params["model"]["quantization"], params["prompt"]["max_length"]) == ("nf4", 2048)
    row = found(project)["learning rate"]  # an adapter's is another quantity even when the number is equal
    assert (row.paper, row.here, row.verdict) == ("1e-05", "1e-05", "different on purpose")


def test_what_no_stage_recorded_is_not_compared(project):
    rows = found(project)
    for item in ("unseen studies (test)", "passes over the training answers", "trained weights"):
        assert rows[item].verdict == "not compared", item
    assert "data/splits/manifest.json" in rows["unseen studies (test)"].reason


def leak(manifest):
    manifest["splits"]["test"]["study_ids"][0] = manifest["splits"]["train"]["study_ids"][0]


def lose(metrics):
    metrics["counts"]["answers"] = 900


@pytest.mark.parametrize(
    ("record", "change", "item"),
    [
        ("data/splits/manifest.json", leak, "studies in two of train, validation and test"),
        ("metrics/evaluate.json", lose, "answers of the test split that are neither scored nor excluded"),
    ],
)
def test_a_study_in_two_splits_and_lost_answers_are_wrong_whatever_the_data(project, record, change, item):
    write_records(project)
    value = json.loads((project / record).read_text())
    change(value)
    write_json(project / record, value)
    assert found(project)[item].verdict == "wrong"


def test_records_of_other_params_are_wrong_and_are_not_compared_with_the_paper(project):
    write_records(project)
    edit(project, train__weight_decay=0.0)
    rows = found(project)
    record = rows["models/adapter/training.json"]
    assert record.verdict == "wrong" and "train.weight_decay 0.1, now 0" in record.here
    assert rows["passes over the training answers"].verdict == "not compared"
    assert rows["studies in the dataset"].verdict == "different on purpose"  # the data are of these params


def run_of_the_paper(project, w=0.16, **changes):
    use(project, "full")
    edit(project, split__method="official", **changes)
    write_records(project, w)
    return found(project)


@pytest.mark.parametrize(("w", "verdict"), [(0.16, "same"), (0.22, "different on purpose")])
def test_results_are_compared_on_the_papers_studies_alone(project, w, verdict):
    rows = run_of_the_paper(project, w)
    assert rows["W of the fine-tuned model"].verdict == verdict
    assert rows["W of a uniform guess"].verdict == "same"
    assert rows["unseen studies (test)"].verdict == "same"
    edit(project, split__method="seeded")
    assert found(project)["W of the fine-tuned model"].verdict == "not compared"


@pytest.mark.parametrize(
    "change", [{"evaluate__min_cell_size": 50}, {"sample__by": "cell", "sample__max_per_cell": 20}]
)
def test_other_cells_than_the_papers_are_not_compared_with_its_figures(project, change):
    """A sample fraction of 1 does not say that everyone is in it, nor a split that every cell is scored."""
    row = run_of_the_paper(project, **change)["W of the fine-tuned model"]
    assert row.verdict == "not compared" and list(change)[-1].replace("__", ".") in row.reason


def test_every_entry_is_named_once_with_its_source_and_what_is_looked_up():
    assert all(item.source and item.here for item in PAPER)
    assert len({item.item for item in PAPER}) == len(PAPER)


def test_the_specification_agrees_with_the_figures_of_the_paper_in_metrics():
    paper = json.loads((ROOT / "metrics/paper.json").read_text())
    values = {item.item: item.paper for item in PAPER}
    assert values["W of the fine-tuned model"] == paper["adapter"]["wasserstein"]
    assert values["W of the base model"] == paper["base"]["wasserstein"]
    assert values["W of a uniform guess"] == paper["uniform"]["wasserstein"]
    assert values["accuracy of a uniform guess"] == paper["uniform"]["drawn"]["accuracy"]
    for part in ("adapter", "base", "uniform"):  # the published answers were drawn
        assert paper[part]["drawn"]["wasserstein"] == paper[part]["wasserstein"]
        assert f"{part}.drawn.wasserstein" in KEYS
    assert values["unseen studies (test)"] == paper["counts"]["studies"]


def test_json_has_every_item_and_the_counts(project):
    done = RUN.invoke(app, ["audit", "--folder", str(project), "--json"])
    report = json.loads(done.stdout)
    assert sum(report["counts"].values()) == len(report["items"]) > 30
    assert set(report["items"][0]) == {"item", "paper", "here", "verdict", "reason", "source"}
