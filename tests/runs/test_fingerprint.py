"""What enters a run's fingerprint, what does not, and who may train it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socrates.core.errors import TrainingError
from socrates.runs import fingerprint as fp
from tests import forked, tiny
from tests.training_runs import STEPS, adapter, changed

CONFIG = {"params.train.seed": 42, "file.data/train.parquet": "ab" * 32}
values = st.dictionaries(st.text(min_size=1), st.one_of(st.integers(), st.text(), st.none()), max_size=5)


@given(values, values)
def test_fingerprints_are_equal_exactly_when_the_configs_are(a, b):
    assert (fp.fingerprint(a) == fp.fingerprint(b)) == (a == b)
    assert fp.fingerprint(a) == fp.fingerprint(dict(reversed(a.items())))


def test_files_and_packages_are_named_by_their_content(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("1")
    before = fp.hash_files([file])
    file.write_text("2")
    assert before != fp.hash_files([file])
    assert fp.versions(["numpy", "no-such-package"])["no-such-package"] is None


SOURCES = {
    **dict.fromkeys(("a/__init__.py", "a/other.py", "socrates/runs/log.py"), ""),
    "a/shared.py": "from socrates.runs import log\n",
    "a/entry.py": "def f():\n    from a import far\n    import numpy\n",
    "a/far.py": '''
import a.shared
LABEL = "Age"
def g(x):
    """Of x."""
    if x:
        raise ValueError(f"no {x}")
''',
}


@pytest.fixture
def sources(tmp_path, monkeypatch):
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(fp, "ROOT", tmp_path)
    return tmp_path


def test_the_code_is_what_the_entry_imports_and_no_more(sources):
    assert set(fp.hash_sources("a.entry")) == {"code.a", "code.a.entry", "code.a.far", "code.a.shared"}
    with pytest.raises(ValueError, match=r"a\.nothing: no such module"):
        fp.hash_sources("a.nothing")


@pytest.mark.parametrize(
    ("old", "new", "shapes"),
    [
        ("Age", "Years", True),
        ("if x:", "if not x:", True),
        ("ValueError", "TypeError", True),
        ("no {x}", "{x} cannot be used", False),
        ("Of x.", "Of a number.", False),
        ("if x:", "if x:  # why", False),
    ],
)
def test_texts_for_people_do_not_count_and_all_else_does(old, new, shapes, sources):
    before = fp.hash_sources("a.entry")
    (sources / "a/far.py").write_text(SOURCES["a/far.py"].replace(old, new))
    after = fp.hash_sources("a.entry")
    assert [name for name in before if after[name] != before[name]] == (["code.a.far"] if shapes else [])


@pytest.mark.parametrize("entry", ["socrates.training.finetune", "socrates.prediction.predict", "gsm8k.grpo"])
def test_the_stages_code_reaches_what_shapes_their_numbers_and_not_what_keeps_them_alive(entry):
    modules = set(fp.hash_sources(entry))
    assert {"code.socrates.model.loading", f"code.{entry}"} <= modules
    assert ("code.socrates.survey.tables" in modules) == (entry != "gsm8k.grpo")
    assert not [name for name in modules if ".runs" in name or ".errors" in name]


def train_by(code: Path, folder: Path) -> None:
    """The train stage of other code than this; for a process of its own."""
    for name in list(sys.modules):
        if name.partition(".")[0] in ("socrates", "stages"):
            del sys.modules[name]
    sys.path.insert(0, str(code))
    forked.stage("stages.train", folder)


def trained_again(run: Path, folder: Path, edits: dict[str, tuple[str, str]]) -> str:
    """What the stage says, with some texts of its code replaced, in a copy of a finished run with its base model."""
    shutil.copytree(run, folder, symlinks=True)
    shutil.rmtree(folder / "models/adapter")
    changed(folder, run={"usd_per_hour": 2.5, "save_steps": 4})
    for part in ("socrates", "stages"):
        shutil.copytree(tiny.ROOT / part, folder / "code" / part)
    for name, (old, new) in edits.items():
        text = (folder / "code" / name).read_text()
        assert old in text, f"{name} has no {old!r}"
        (folder / "code" / name).write_text(text.replace(old, new))
    ended = forked.captured(train_by, folder / "code", folder)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_an_edit_of_the_progress_bar_an_error_or_the_section_run_ends_with_the_same_weights(done, tmp_path):
    edits = {
        "socrates/runs/log.py": ("class ProgressBar", "EDITED = True\n\n\nclass ProgressBar"),
        "socrates/training/finetune.py": ("the shortest has", "the least has"),
    }
    told = trained_again(done, tmp_path / "run", edits)
    assert f"checkpoint-{STEPS}\n" in told and "resuming from" in told
    assert adapter(tmp_path / "run") == adapter(done)


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("socrates/survey/tables.py", '"age": "Age"', '"age": "Years"', "code.socrates.survey.tables"),
        ("socrates/training/params.py", "2 * others", "3 * others", "params.lora.alpha (8 -> 12)"),
    ],
)
def test_an_edit_of_what_shapes_the_weights_trains_anew(name, old, new, says, done, tmp_path):
    told = trained_again(done, tmp_path / "run", {name: (old, new)})
    assert "starting fresh" in told and says in told
    assert adapter(tmp_path / "run") != adapter(done)


HOLDER = """
import time
from socrates.runs import fingerprint as fp
with fp.run_directory_lock("train", {"a": 1}):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    monkeypatch.setenv(fp.SCRATCH_VARIABLE, str(tmp_path))
    return tmp_path


def test_a_second_process_is_refused_and_takes_over_when_the_first_has_died(scratch):
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE) as first:
        try:
            assert first.stdout is not None and first.stdout.readline() == b"held\n"
            with pytest.raises(TrainingError, match=f"process {first.pid} is at work on this fingerprint"):
                fp.run_directory_lock("train", {"a": 1}).__enter__()
        finally:
            first.kill()
    with fp.run_directory_lock("train", {"a": 1}) as folder:
        assert (folder / "lock").read_text() == str(os.getpid())


def test_a_scratch_that_cannot_be_written_is_one_clear_line(scratch):
    (scratch / "train").write_text("")
    with pytest.raises(TrainingError, match=r"scratch cannot be written .* set SOCRATES_SCRATCH"):
        fp.run_directory_lock("train", CONFIG).__enter__()


def test_a_fresh_start_names_the_keys_that_differ_from_the_nearest_run(scratch):
    told = []
    for config in ({"a": 1, "b": [1]}, {"a": 2, "b": [2]}, {"a": 1, "b": [3]}):
        with fp.run_directory_lock("train", config) as folder:
            assert folder == scratch / "train" / fp.fingerprint(config)
            told.append(fp.explain_fresh_start(folder, config))
    nearest = fp.fingerprint({"a": 1, "b": [1]})[:12]
    assert told[0] is None
    assert told[2] == f"starting fresh: the earlier run {nearest} differs in b ([1] -> [3])"


@pytest.mark.parametrize(
    ("inside", "expected"),
    [("", ".scratch"), ("gsm8k", "gsm8k/.scratch"), (".dvc/tmp/exps/tmpab12", ".scratch"),
     (".dvc/tmp/exps/tmpab12/gsm8k", "gsm8k/.scratch"), (".dvc/tmp/exps/standalone/tmpab12", ".scratch"),
     (".dvc/tmp/exps/standalone/tmpab12/gsm8k", "gsm8k/.scratch")],
)  # fmt: skip
def test_scratch_outlives_the_copies_that_dvc_makes_for_experiments(inside, expected, tmp_path, monkeypatch):
    monkeypatch.delenv(fp.SCRATCH_VARIABLE, raising=False)
    (tmp_path / inside.removesuffix("gsm8k") / ".dvc").mkdir(parents=True, exist_ok=True)
    (tmp_path / inside).mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / inside)
    assert fp.scratch() == tmp_path / expected
    monkeypatch.setenv(fp.SCRATCH_VARIABLE, "/data/scratch")
    assert fp.scratch() == Path("/data/scratch")
