"""Fixtures of several test files: a tiny base model and its adapter, made once, and a working folder with them."""

import gc
import shutil
import signal

import pytest

gc.set_threshold(100_000, 50, 100)  # as in tests/forked.py
# What `nohup` and `&` switch off stays off in a run; the tests of signals need it on wherever they are started.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


LONG = [
    "dvc_experiments",
    "train_stage",
    "launch",
    "gsm8k_stages",
    "benchmarks",
    "kill_and_resume",
    "fingerprint",
]


def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that no worker has one of them left at the end."""
    place = {f"test_{name}.py": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONG)))


def pytest_collection_finish():
    """Leave out of every collection what was imported by then."""
    gc.freeze()


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The folders of ``model_folders.make``, which no test may change."""
    from tests import model_folders  # here, since it imports torch and most tests need none

    folder = tmp_path_factory.mktemp("made")
    model_folders.make(folder)
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of them, which is the working folder and has a scratch folder of its own."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOCRATES_SCRATCH", str(tmp_path / ".scratch"))
    return tmp_path


@pytest.fixture(scope="session")
def ready(tmp_path_factory):
    """A folder in which everything before train has run, which no test may change."""
    from tests import training_runs

    folder = tmp_path_factory.mktemp("ready")
    training_runs.prepare(folder)
    return folder


@pytest.fixture(scope="session")
def done(ready, tmp_path_factory):
    """A training by one process."""
    from tests import training_runs

    folder = training_runs.copy(ready, tmp_path_factory.mktemp("done") / "run")
    result = training_runs.run(folder)
    assert result.returncode == 0, result.stderr
    assert "mismatch" not in result.stderr  # of passes in a step: accelerate
    return folder


@pytest.fixture(scope="session")
def without_dropout(ready, tmp_path_factory):
    """A training whose numbers other ways of computing it must give."""
    from tests import training_runs

    folder = training_runs.copy(ready, tmp_path_factory.mktemp("plain") / "run", lora={"dropout": 0.0})
    assert training_runs.train(folder) == 0
    return folder
