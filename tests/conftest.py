"""Fixtures of several test files: a tiny base model and its adapter, made once, and a working folder with them."""

from __future__ import annotations

import shutil
import signal

import pytest

# What `nohup` and `&` switch off stays off in a run; the tests of signals need it on wherever they are started.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


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
