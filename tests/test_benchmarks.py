"""The benchmarks compare like with like: what they measure works, and they refuse to report what differs."""

import itertools
import os

import numpy as np
import pytest
import torch

from benchmarks import answering, gpu, timing
from benchmarks.attentions import FLEX
from benchmarks.quantised import nf4_model, twin
from benchmarks.training import OURS, PADDED, check_equal, trainers
from benchmarks.workload import REAL, config, cpu_model, rows, tokenizer
from socrates.core.errors import SocratesError
from socrates.model.prefix_sharing import pack, use_prefix_sharing


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
def test_every_line_of_the_gpu_benchmark_works_in_miniature(capsys):
    lines = gpu.report(gpu.TINY)
    missing = [line for line in lines if "not measured" in str(line)]
    # FlexAttention has no backward pass on a CPU; its forward pass is tested below.
    assert [line[1] for line in missing] == ["shared scenarios, FlexAttention"]
    for _, _, theirs, ours, _, ratio, _ in (line for line in lines if line not in missing):
        assert min(theirs, ours, ratio) > 0
    assert "figures mean nothing" in capsys.readouterr().out


def test_flex_attention_reads_a_packed_tree_as_ours_does():
    model, rng = cpu_model(), np.random.default_rng(0)
    texts = [rng.integers(300, 1000, length).astype(np.int32) for length in (9, 4, 3, 8, 5, 1)]
    inputs = pack(texts[:2], texts[2:], [0, 1, 1, 0])
    use_prefix_sharing(model)
    with torch.no_grad():
        ours = model(**inputs, use_cache=False).logits
        model.set_attn_implementation(FLEX)
        theirs = model(**inputs, use_cache=False).logits
    torch.testing.assert_close(theirs, ours, atol=2e-4, rtol=1e-4)


def test_a_trainer_that_computes_something_else_is_not_reported():
    data = rows(REAL, 1, 4, "1..7")
    made = trainers(cpu_model(), data, REAL, [PADDED, OURS], 4)
    assert check_equal(made, data, 4).startswith("equivalence")
    for name, parameter in made[PADDED].model.named_parameters():
        if "o_proj.lora_A" in name:
            parameter.data *= 1.05
    with pytest.raises(SystemExit, match="not reported: TRL, padded"):
        check_equal(made, data, 4)


@pytest.mark.parametrize("notation", ["1..7", "0..100"])
def test_ways_of_scoring_agree_and_a_wrong_one_is_noticed(notation):
    words = tokenizer()
    model = answering.speak_digits(cpu_model(), words)
    data = rows(REAL, 1, 2, notation)
    exact = answering.exact(model, words, data, notation, 2048)
    for other in (
        answering.by_option(model, data, range(2), 16),
        answering.by_cached_prompt(model, data, range(2), 2),
    ):
        answering.check_close(exact, other, "another way", answering.TOLERANCE)
    with pytest.raises(SystemExit, match="differs"):
        answering.check_close(exact, exact * 1.001, "a wrong way", answering.TOLERANCE)


def test_frequencies_that_do_not_follow_the_probabilities_are_noticed():
    data = rows(REAL, 1, 1, "1..7")
    exact = np.full((1, 7), 1 / 7)
    answers = [tuple(answer.tolist()) for answer in data.answers]
    answering.check_frequencies(exact, data, [answers * 100])
    with pytest.raises(SystemExit, match="standard errors"):
        answering.check_frequencies(exact, data, [answers[:1] * 700])


def test_sampling_leaves_an_error_that_falls_with_the_root_of_the_draws():
    exact = np.random.default_rng(0).dirichlet(np.ones(7), size=32)
    few, many = (answering.sampling_error(exact, draws, 32, np.random.default_rng(1)) for draws in (5, 80))
    assert few / many == pytest.approx(4, rel=0.2)


def test_ways_run_in_turn_and_the_first_round_is_forgotten():
    calls: list[str] = []
    tick = itertools.count(1)

    def way(name):
        return lambda: calls.append(name) or float(next(tick))

    seconds = timing.interleaved({"a": way("a"), "b": way("b")}, rounds=2)
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert seconds == {"a": [4.0, 5.0], "b": [3.0, 6.0]}
    assert timing.ratio(seconds, "b", "a") == pytest.approx((3 / 4 + 6 / 5) / 2)


def test_a_twin_shares_frozen_weights_and_nothing_else():
    model = nf4_model(config(), torch.device("cpu"), torch.float32)
    other = twin(model)
    first, second = (m.model.layers[0].self_attn.q_proj for m in (model, other))
    assert first is not second and first.weight is second.weight
    other.set_attn_implementation("eager")
    assert model.config._attn_implementation != "eager"
