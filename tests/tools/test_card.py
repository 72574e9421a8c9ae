"""The model card: what the hub reads of it, what a person does, and that its snippet runs."""

# ruff: noqa: F811 (fixtures of another file)

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

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
from socrates.tools.card import EXAMPLE, EXAMPLE_OPTIONS, TEMPLATES, render_card, to_load
from tests import forked, tiny
from tests.reporting.test_report import QUESTION, project  # noqa: F401  (a fixture)
from tests.small_models import write_models


@pytest.fixture(scope="module")
def report(project) -> Report:
    return read_report(project)


@pytest.fixture(scope="module")
def found(report):
    return content(report)  # its figures take seconds


def test_the_hub_reads_base_licence_and_data(report, found):
    hub = replace(report, raw={**report.raw, "source": "hub"})
    read = ModelCard(render_card(hub, found | {"report": hub}, "lab/answers", "mit"))
    assert read.data.base_model == "some/model" and read.data.library_name == "peft"
    assert read.data.license == "mit" and read.data.datasets == ["socratesft/SocSci210"]


def test_figures_stand_beside_intervals_and_no_text_of_a_question_is_there(report, found):
    text = render_card(report, found, "models/adapter", None)
    for part in ("adapter", "base", "uniform", "train_marginal"):
        value = report.estimate(part)
        assert f"{number(value.value)} ({number(value.low)} to {number(value.high)})" in text
    for word in ("c" * 40, "| split.method | seeded |", "lora.r", "Not for:", "Licences", "no substitute"):
        assert word in text, word
    assert "license: other\nlicense_name: not-decided\n" in text
    assert "kettle" in QUESTION and "kettle" not in text


@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_the_snippet_runs_and_prints_what_the_pipeline_predicts(quantization, report, tmp_path):
    params = write_models(tmp_path, quantization)
    raw = YAML(typ="safe").load(tmp_path / "params.yaml")
    base = {"kind": "builtin", "parameters": 1}
    shown = to_load(replace(report, base=base, training={}, params=raw), "models/adapter")
    code = TEMPLATES.get_template("snippet.py.j2").render(shown)
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
    # bitsandbytes may infer in bfloat16
    np.testing.assert_allclose(printed, probabilities[0] * mass[0], rtol=2e-2)


def test_the_command_writes_the_card_and_its_plots(project, tmp_path, monkeypatch):
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
def test_a_file_where_a_folder_is_wanted_is_refused(command, tmp_path):
    (tmp_path / "file").touch()
    result = CliRunner().invoke(app, [command, "--out", str(tmp_path / "file")])
    assert result.exit_code == 2 and "is a file" in " ".join(result.stderr.replace("│", " ").split())


def test_a_card_of_an_adapter_with_another_prompt_is_refused(report):
    params = {**report.params, "prompt": {**report.params["prompt"], "format": "chat"}}
    with pytest.raises(DataError, match=r"prompt\.format chat"):
        to_load(replace(report, training={}, params=params), "models/adapter")
