"""The model card: what the hub reads of it, what a person does, and that its snippet runs."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from ruamel.yaml import YAML
from typer.testing import CliRunner

from socrates.cli.__main__ import app
from socrates.core.errors import DataError
from socrates.core.files import sha256
from socrates.model.encoding import encode
from socrates.model.loading import load_model, load_tokenizer
from socrates.model.params import Prompt
from socrates.prediction.distributions import predict_distributions
from socrates.reporting.read import Report, read_report
from socrates.reporting.sections import content, number
from socrates.tools.card import EXAMPLE, EXAMPLE_OPTIONS, render_card, snippet
from tests import forked, tiny
from tests.reporting.test_report import QUESTION, project  # noqa: F401  (a fixture)
from tests.small_models import write_models


@pytest.fixture(scope="module")
def report(project: Path) -> Report:  # noqa: F811
    return read_report(project)


CONTENT: dict[str, Any] = {}  # of the fixture's report; its figures take seconds


def card(report: Report, adapter: str = "models/adapter", license_: str | None = None) -> str:
    CONTENT.update({} if CONTENT else content(report))
    return render_card(report, CONTENT | {"report": report}, adapter, license_)


def test_the_hub_reads_base_licence_and_data(report: Report) -> None:
    hub = replace(report, raw={**report.raw, "source": "hub"})
    read = ModelCard(card(hub, "lab/answers", "mit"))
    assert read.data.base_model == "some/model" and read.data.library_name == "peft"
    assert read.data.license == "mit" and read.data.datasets == ["socratesft/SocSci210"]


def test_figures_stand_beside_baselines_and_intervals(report: Report) -> None:
    text = card(report)
    for part in ("adapter", "base", "uniform", "train_marginal"):
        found = report.estimate(part)
        assert f"{number(found.value)} ({number(found.low)} to {number(found.high)})" in text
    for word in ("c" * 40, "| split.method | seeded |", "lora.r", "Not for:", "Licences", "no substitute"):
        assert word in text, word


def test_no_text_of_a_question_is_in_the_card(report: Report) -> None:
    assert "kettle" in QUESTION and "kettle" not in card(report)


def test_a_licence_that_was_not_decided_says_so(report: Report) -> None:
    assert "license: other\nlicense_name: not-decided\n" in card(report)


@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_the_snippet_runs_and_prints_what_the_pipeline_predicts(
    quantization: str, report: Report, tmp_path: Path
) -> None:
    params = write_models(tmp_path, quantization)
    raw = YAML(typ="safe").load(tmp_path / "params.yaml")
    base = {"kind": "builtin", "parameters": 1}
    code = snippet(replace(report, base=base, training={}, params=raw), "models/adapter")
    ran = forked.captured(forked.run_code, tmp_path, code)
    assert ran.returncode == 0, ran.stderr
    printed = [float(line.split()[1]) for line in ran.stdout.splitlines() if re.match(r"\d+ ", line)]

    rows = tiny.rows(1).head(1)
    person = {**dict.fromkeys(rows["demographic"].struct.fields), "age": "34", "gender": "Female"}
    row = rows.to_dicts()[0] | {"stimuli": EXAMPLE, "demographic": person, "response": 1}
    table = type(rows)([row], schema=rows.schema)
    tokenizer = load_tokenizer(tmp_path / "models/base")
    data = encode(table, tokenizer, Prompt.model_validate(raw["prompt"]).layout)
    model = load_model(tmp_path / "models/base", tmp_path / "models/adapter", params)
    probabilities, mass = predict_distributions(model, tokenizer, data, ["1..5"], 4096)
    assert len(printed) == len(EXAMPLE_OPTIONS)
    np.testing.assert_allclose(
        printed, probabilities[0] * mass[0], rtol=2e-2
    )  # bitsandbytes may infer in bfloat16


def test_the_command_writes_the_card_and_its_plots(
    project: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(project, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    result = CliRunner().invoke(app, ["card", "--license", "mit", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    text = Path(told["out"], "README.md").read_text()
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert shown and set(shown) < set(told["files"])
    assert all(sha256(Path(told["out"], name)) for name in told["files"])


@pytest.mark.parametrize("command", ["card", "merge"])
def test_a_file_where_a_folder_is_wanted_is_refused(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(app, [command, "--out", str(tmp_path / "file")])
    assert result.exit_code == 2 and "is a file" in " ".join(result.stderr.replace("│", " ").split())


def test_a_card_of_an_adapter_with_another_prompt_is_refused(report: Report) -> None:
    params = {**report.params, "prompt": {**report.params["prompt"], "format": "chat"}}
    with pytest.raises(DataError, match=r"prompt\.format chat"):
        snippet(replace(report, training={}, params=params), "models/adapter")
