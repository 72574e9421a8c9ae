"""What a training step sees: the plan of rows, and a loss on the answer and its end token alone."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from socrates.core.errors import TrainingError
from socrates.core.params import load
from socrates.model.encoding import encode
from socrates.model.tokenisation import end_token
from socrates.survey.prompts import persona_expression, template
from socrates.training.collator import Rows, by_pass, pass_tokens, training_batch
from socrates.training.config import AdapterCheckpoints, deepspeed_config
from socrates.training.params import Deepspeed, Lora, Train
from socrates.training.schedule import BatchPlan, make_schedule, plan_batches
from socrates.training.sft import AdapterTrainer
from tests import tiny

TRAIN = load(Train, tiny.ROOT / "params.yaml")


@pytest.mark.parametrize("layout", ["scenario_first", "persona_first"])
def test_training_scoring_and_a_user_s_prompt_see_the_same_tokens_and_loss_is_of_answer_and_end_token(layout):
    table = tiny.rows()
    personas = table.select(persona_expression())["persona"]
    for tokenizer in tiny.tokenizers():
        data = encode(table, tokenizer, layout)
        for row, answer in enumerate(table["response"].cast(str)):
            text = template(layout).prompt(table["stimuli"][row], personas[row]) + answer
            ids = data.answer_ids(row)
            parts = [*data.prefix_ids(row), *data.suffix_ids(row), *ids[:-1]]
            assert parts == tokenizer(text, add_special_tokens=False)["input_ids"]
            assert tokenizer.decode(ids[:-1]) == answer and ids[-1] == end_token(tokenizer)
            assert len(data.suffix_ids(row)) > 0  # so that no answer sits where it follows its prefix
        labels = training_batch(data, range(len(data)))["labels"][0].tolist()
        assert labels == [int(token) for row in range(len(data)) for token in data.answer_ids(row)]


def test_the_global_batch_is_kept_on_any_number_of_processes():
    train = TRAIN.model_copy(update={"global_batch": 64, "micro_batch": 24, "max_steps": None, "epochs": 1.0})
    for processes in (1, 2, 4, 8):
        plan = plan_batches(train, 640, processes)
        assert plan.micro_batch_size * plan.grad_accum_steps * processes == 64
        assert plan.micro_batch_size <= 24
        assert plan.max_steps == 10
    with pytest.raises(TrainingError, match="2, 4"):
        plan_batches(train, 640, 3)
    with pytest.raises(TrainingError, match="no rows"):
        plan_batches(train, 0, 1)


def test_an_epoch_sees_every_row_once_and_groups_lie_together():
    rng = np.random.default_rng(0)
    scenario = rng.integers(0, 7, 100)
    rows = np.arange(20, 100)
    order = make_schedule(rows, scenario, 160, 8, seed=1)
    assert sorted(order[:80]) == sorted(order[80:]) == rows.tolist()
    assert (order[:80] != order[80:]).any()
    runs = np.flatnonzero(np.diff(scenario[order[:80]]) != 0)
    assert np.diff(runs).max() >= 7  # groups stay whole
    assert len(set(scenario[order[:16]])) > 1  # and a batch mixes scenarios
    np.testing.assert_array_equal(order, make_schedule(rows, scenario, 160, 8, seed=1))
    assert (order != make_schedule(rows, scenario, 160, 8, seed=2)).any()


def test_evaluation_takes_equal_passes_of_at_most_four_and_buffers_fit_an_adapter(monkeypatch):
    data = encode(tiny.rows(20), tiny.tokenizer(), "scenario_first")
    rows = Rows(data, np.arange(16), np.arange(16, 60))
    made = {}
    monkeypatch.setattr(AdapterCheckpoints, "__init__", lambda self, **given: made.update(given))
    lora = load(Lora, tiny.ROOT / "params.yaml")
    args = SimpleNamespace(world_size=1, deepspeed=None)
    AdapterTrainer(tiny.model(), tiny.tokenizer(), rows, BatchPlan(2, 4, 2), lora, args)
    assert sorted(map(len, made["train_dataset"]["rows"])) == [4] * 4
    passes = [range(16, 31), range(31, 46), range(46, 60)]
    assert made["eval_dataset"]["rows"][:] == [list(part) for part in passes]  # in their order
    zero = deepspeed_config(Deepspeed(zero_stage=1, offload=False))["zero_optimization"]
    assert max(zero["reduce_bucket_size"], zero["allgather_bucket_size"]) * 4 <= 2**28  # bytes


@pytest.mark.parametrize(("group", "cut"), [(16, 0), (5, 6), (1, 24)])
def test_passes_end_where_scenarios_do_and_steps_keep_their_rows(group, cut):
    data = encode(tiny.rows(200), tiny.tokenizer(), "scenario_first")
    rng = np.random.default_rng(2)
    data = replace(data, scenario_of_row=rng.integers(0, 3, len(data)))
    order = make_schedule(np.arange(len(data)), data.scenario_of_row, 256, group, seed=1)
    rows = Rows(data, order, order)
    assert by_pass(rows, 32, 32).tolist() == order.tolist()  # a step of one pass is left as it is
    arranged = by_pass(rows, 64, 16)
    steps = [np.sort(each.reshape(-1, 64), axis=1) for each in (order, arranged)]
    np.testing.assert_array_equal(*steps)
    before, after = (
        sum(len(set(data.scenario_of_row[part])) for part in each.reshape(-1, 16))
        for each in (order, arranged)
    )
    assert after <= before - cut
    sizes = [training_batch(data, part)["input_ids"].numel() for part in arranged.reshape(-1, 16)]
    assert pass_tokens(data, arranged, 16).tolist() == sizes
