"""What enters a run's fingerprint, what does not, and who may train it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socrates.core import params
from socrates.core.errors import TrainingError
from socrates.runs import fingerprint as fp
from socrates.training.params import Train

FACTS = {"params.train.seed": 42, "file.data/train.parquet": "ab" * 32}
values = st.dictionaries(st.text(min_size=1), st.one_of(st.integers(), st.text(), st.none()), max_size=5)


@given(values)
def test_the_order_of_keys_does_not_matter(facts: dict[str, Any]) -> None:
    backwards = dict(reversed(facts.items()))
    assert fp.fingerprint(facts) == fp.fingerprint(backwards)


@given(values, values)
def test_fingerprints_are_equal_exactly_when_nothing_differs(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert (fp.fingerprint(a) == fp.fingerprint(b)) == (not fp.difference(a, b))


def test_an_absent_key_differs_from_null() -> None:
    assert fp.difference({"a": None}, {}) == ["a"]


def section() -> Train:
    return params.load(Train)


def test_what_shapes_the_result_does() -> None:
    changed = section().model_copy(update={"eval_steps": 7, "seed": 8})
    keys = fp.difference(fp.of_sections({"train": section()}), fp.of_sections({"train": changed}))
    assert keys == ["params.train.eval_steps", "params.train.seed"]


def test_files_code_and_packages_are_named_by_their_content(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("1")
    before = fp.of_files([file])
    file.write_text("2")
    assert before != fp.of_files([file])
    code = fp.of_code(["socrates.runs.checkpoints"])
    assert len(code["code.socrates.runs.checkpoints"]) == 64
    assert fp.of_packages(["numpy", "no-such-package"])["package.no-such-package"] is None
    with pytest.raises(ValueError, match="no such module"):
        fp.of_code(["socrates.nothing"])


def test_a_run_owns_its_folder_and_finds_its_facts_there(tmp_path: Path) -> None:
    with fp.hold("train", FACTS, tmp_path) as folder:
        assert folder == tmp_path / "train" / fp.fingerprint(FACTS)
        assert (folder / fp.FACTS).is_file()
    with fp.hold("train", FACTS, tmp_path):
        pass


HOLDER = """
import sys, time
from pathlib import Path
from socrates.runs import fingerprint as fp
with fp.hold("train", {"a": 1}, Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_and_takes_over_when_the_first_has_died(tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with (
            pytest.raises(TrainingError, match=f"process {first.pid} is at work on this fingerprint"),
            fp.hold("train", {"a": 1}, tmp_path),
        ):
            pass
        with fp.hold("train", {"a": 2}, tmp_path):
            pass  # another fingerprint is free
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    with fp.hold("train", {"a": 1}, tmp_path) as folder:
        assert (folder / "lock").read_text() == str(os.getpid())


def test_a_scratch_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"scratch cannot be written .* set SOCRATES_SCRATCH"):
        fp.hold("train", FACTS, tmp_path / "file").__enter__()


def test_a_fresh_start_names_the_keys_that_differ_from_the_nearest_run(tmp_path: Path) -> None:
    for facts in ({"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 2, "c": 1}):
        with fp.hold("train", facts, tmp_path):
            pass
    now = {"a": 1, "b": 1, "c": 3}
    with fp.hold("train", now, tmp_path) as folder:
        text = fp.explain_fresh_start(folder, now)
    assert text is not None
    assert text.endswith("differs in c (1 -> 3)")


def test_the_first_run_of_all_needs_no_explanation(tmp_path: Path) -> None:
    with fp.hold("train", FACTS, tmp_path) as folder:
        assert fp.explain_fresh_start(folder, FACTS) is None


@pytest.mark.parametrize(
    ("inside", "scratch"),
    [("", ".scratch"), ("gsm8k", "gsm8k/.scratch"), (".dvc/tmp/exps/tmpab12", ".scratch"),
     (".dvc/tmp/exps/tmpab12/gsm8k", "gsm8k/.scratch"), (".dvc/tmp/exps/standalone/tmpab12", ".scratch"),
     (".dvc/tmp/exps/standalone/tmpab12/gsm8k", "gsm8k/.scratch")],
)  # fmt: skip
def test_scratch_outlives_the_copies_that_dvc_makes_for_experiments(
    inside: str, scratch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(fp.SCRATCH_VARIABLE, raising=False)
    (tmp_path / inside.removesuffix("gsm8k") / ".dvc").mkdir(parents=True, exist_ok=True)
    (tmp_path / inside).mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / inside)
    assert fp.scratch() == tmp_path / scratch
    monkeypatch.setenv(fp.SCRATCH_VARIABLE, "/data/scratch")
    assert fp.scratch() == Path("/data/scratch")
