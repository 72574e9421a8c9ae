"""What goes to the hub, what does not, and how a hub that refuses is told of."""

# ruff: noqa: F811 (fixtures of another file)

import json
import shutil
from typing import Any

import pytest
from huggingface_hub import ModelCard, constants
from typer.testing import CliRunner, Result

from socrates.cli.__main__ import app
from socrates.core.errors import SocratesError
from tests.hub_server import ModelHub, serve
from tests.reporting.test_report import project  # noqa: F401  (a fixture)

REPO, TOKEN = "lab/answers", "hf_testtoken0123456789"


@pytest.fixture
def hub(monkeypatch):
    with serve(ModelHub(TOKEN)) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


@pytest.fixture
def run(project, tmp_path, monkeypatch):
    """A project's folder with an adapter, and with things beside it that must stay at home."""
    folder = tmp_path / "run"
    shutil.copytree(project, folder)
    adapter = folder / "models/adapter"
    (adapter / "adapter_model.safetensors").write_bytes(b"weights" * 1000)
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "training_args.bin").write_bytes(b"a pickle")
    (folder / "metrics/report.html").write_text("<p>kettle</p>")
    monkeypatch.chdir(folder)
    return folder


def call(*options: str) -> Result:
    return CliRunner().invoke(app, ["publish", "--repo", REPO, *options])


def test_one_private_commit_holds_adapter_card_metrics_and_plots(hub, run):
    result = call("--json")
    assert result.exit_code == 0, result.output
    repository = hub.repositories[REPO]
    assert repository["private"]
    files: dict[str, bytes] = repository["files"]
    assert files["adapter_model.safetensors"] == b"weights" * 1000
    assert files["metrics/evaluate.json"] == (run / "metrics/evaluate.json").read_bytes()
    assert any(name.startswith("plots/") for name in files)
    assert sum(path.endswith("/commit/main") for _, path in hub.asked) == 1
    told = json.loads(result.stdout)
    assert told["commit"] == f"{hub.endpoint}/{REPO}/commit/{'d' * 40}"
    assert set(told["files"]) == set(files)
    card = ModelCard(files["README.md"].decode())
    assert f'"{REPO}"' in card.text  # the snippet loads it from where it is


def test_rows_question_texts_pickles_and_logs_stay_at_home(hub, run):
    assert call().exit_code == 0
    files: dict[str, bytes] = hub.repositories[REPO]["files"]
    assert not any(name.endswith((".parquet", ".bin", ".html", ".jsonl")) for name in files)
    assert not any(b"kettle" in content for content in files.values())


def test_a_dry_run_lists_the_files_and_asks_nobody(hub, run):
    result = call("--dry-run")
    assert result.exit_code == 0, result.output
    assert "adapter_model.safetensors" in result.stdout and "nothing was sent" in result.stdout
    assert hub.asked == []


@pytest.mark.parametrize("name", ["nonsense", "a/b/c", "https://hub/a/b", ""])
def test_a_name_that_is_no_repository_is_refused_before_anything_is_written(run, name):
    result = CliRunner().invoke(app, ["publish", "--repo", name, "--dry-run"])
    assert result.exit_code == 2 and "expected owner/name" in result.stderr


def test_public_is_asked_for_and_needs_a_licence(hub, run):
    assert isinstance(call("--public").exception, SocratesError)
    assert hub.asked == []
    assert call("--public", "--license", "mit").exit_code == 0
    assert hub.repositories[REPO]["private"] is False


def test_a_public_repository_is_not_filled_by_one_who_expects_a_private_one(hub, run):
    hub.repositories[REPO] = {"private": False, "files": {}}
    assert_one_line(call().exception, "is there already and public")
    assert hub.repositories[REPO]["files"] == {}


@pytest.mark.parametrize("place", ["/api/repos/create", f"/api/models/{REPO}/commit", "/lfs/"])
def test_a_hub_that_refuses_is_one_line_without_the_token(place, hub, run):
    hub.refuse[place] = 403
    assert_one_line(call().exception, "the hub refused")
    assert hub.repositories.get(REPO, {"files": {}})["files"] == {}


def test_a_wrong_token_is_not_shown(hub, run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrongtoken9876543210")
    error = call().exception
    assert_one_line(error, "hf auth login")
    assert "hf_wrong" not in str(error)


def test_without_an_adapter_nothing_is_published(hub, run):
    (run / "models/adapter/adapter_model.safetensors").unlink()
    assert_one_line(call().exception, "models/adapter: has no adapter_model.safetensors")
    assert hub.asked == []


def assert_one_line(error: Any, text: str) -> None:
    assert isinstance(error, SocratesError), repr(error)
    assert text in str(error) and "\n" not in str(error)
