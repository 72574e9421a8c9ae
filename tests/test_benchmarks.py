"""The benchmarks compare like with like: what they measure works, and they refuse to report what differs."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, timing
from benchmarks import prediction_speed as prediction
from benchmarks.gpu_kit import UNUSED
from benchmarks.gpu_sections import SECTIONS
from benchmarks.plans import TINY
from benchmarks.training_speed import GROUPED, OURS, check_equal, make
from benchmarks.workload import REAL, cpu_model, rows
from socrates.core.errors import SocratesError
from tests.forked import in_process

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_benchmark_says_in_one_line_that_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that it is put back
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pytest.raises(SocratesError, match="no GPU here; nothing was measured") as refusal:
        gpu.main()
    assert "\n" not in str(refusal.value)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"  # one of several, unless told otherwise


@pytest.mark.skipif(torch.cuda.is_available(), reason="the miniature is for machines without a GPU")
@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_of_the_gpu_benchmark_works_in_miniature(name):
    assert in_process(miniature, name) == 0


def test_the_gpu_benchmark_needs_nothing_that_the_kit_leaves_out():
    """The machine has no scipy, and no package of the pipeline's other stages."""
    hidden = {*UNUSED, "dvc", "sklearn", "statsmodels", "moto"}
    code = (
        f"import gc, sys; gc.disable(); sys.modules |= dict.fromkeys({hidden}); "
        "import benchmarks.gpu, benchmarks.gpu_sections"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def miniature(name):
    """Every line of a section has its figures; for a process of its own."""
    torch.set_num_threads(1)
    lines = SECTIONS[name](TINY, 1)
    assert lines and all(len(line) == len(gpu.HEADER) for line in lines)
    values = [value for line in lines for value in line]
    assert not any(str(value).startswith(("not measured", "OTHER BITS", "fail")) for value in values)
    assert all(value >= 0 for value in values if isinstance(value, float))


def test_a_section_for_which_no_time_is_left_says_so_and_the_next_begins(capfd):
    gpu.every(["doctor", "grpo"], ["--tiny"], seconds=0.0)
    told = capfd.readouterr().out
    assert "not measured: doctor: no time left" in told and "not measured: grpo: no time left" in told


def test_a_trainer_that_computes_something_else_is_not_reported():
    data = rows(REAL, 1, 4, "1..7")
    made = {way: make(cpu_model(), way, data, REAL, 4) for way in (GROUPED, OURS)}
    assert check_equal(made, data, 4).startswith("equivalence")
    for name, parameter in made[GROUPED].model.named_parameters():
        if "o_proj.lora_A" in name:
            parameter.data *= 1.05
    with pytest.raises(SystemExit, match="not reported: TRL, padded"):
        check_equal(made, data, 4)


@pytest.mark.parametrize("notation", ["1..7", "0..100"])
def test_ways_of_scoring_agree_and_a_wrong_one_is_noticed(notation):
    model = prediction.speak_digits(cpu_model())
    data = rows(REAL, 1, 2, notation)
    exact = prediction.exact(model, data, notation, 2048)
    other = prediction.by_option(model, data, range(2), 16)
    prediction.check_close(exact, other, "another way", 1e-5)
    with pytest.raises(SystemExit, match="differs"):
        prediction.check_close(exact, exact * 1.001, "a wrong way", 1e-5)


def test_ways_run_in_turn_and_the_first_round_is_forgotten():
    calls: list[str] = []
    tick = itertools.count(1)

    def way(name):
        return lambda: calls.append(name) or float(next(tick))

    seconds = timing.interleaved({"a": way("a"), "b": way("b")}, rounds=2)
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert seconds == {"a": [4.0, 5.0], "b": [3.0, 6.0]}
    assert timing.ratio(seconds, "b", "a") == pytest.approx((3 / 4 + 6 / 5) / 2)
