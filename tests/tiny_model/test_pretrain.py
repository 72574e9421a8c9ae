"""The built-in base model: which answers it is taught, and nothing else about them; the tokenizer of the made world:
short prompts, names apart, and the same after loading as when it was trained."""

import polars as pl
import pytest

from socrates.model.answer_trie import option_ids
from socrates.model.loading import load_tokenizer
from socrates.survey.tables import SCALED_RESPONSES
from socrates.tiny_model.build import train_tokenizer
from socrates.tiny_model.pretrain import answer_targets, uniform_answers


def test_an_answers_token_is_trained_towards_the_options_that_begin_alike():
    tokenizer = train_tokenizer(["0 1 2 3 4 5 6 7 8 9"], 300)
    digits, end = tokenizer.convert_tokens_to_ids(list("0123456789")), tokenizer.eos_token_id
    options = option_ids(tokenizer, "0..100")
    first, second, third, fourth = answer_targets(options, options[100], 320) * 101
    # Of the 101 options one begins with 0, twelve with 1 (1, 10 to 19, 100), eleven with each other digit.
    assert first[digits].round().tolist() == [1, 12, *[11] * 8] and first.sum() == pytest.approx(101)
    assert (second[end] * 12).round() == 101 and (second[digits[0]] * 12).round() == 2 * 101
    assert third[end] == third[digits[0]] == 101 / 2  # 10 and 100
    assert fourth[end] == 101


@pytest.fixture
def answered():
    """400 people who all answer 7 on a scale from 0 to 9."""
    text = "How warm do you feel? Only return an integer from 0 to 9, where 0 means cold and 9 means warm."
    row = {"study_id": "s", "participant": 0, "condition_num": 1, "task_num": 1, "demographic": None}
    row |= {"stimuli": text, "response": 7, "scale": "0..9", "scale_rule": "range"}
    rows = [row | {"sample_id": index} for index in range(400)]
    return pl.DataFrame(rows, schema=SCALED_RESPONSES)


def test_answers_of_people_never_reach_the_base_model(answered):
    drawn = uniform_answers(answered, seed=1)
    assert drawn["scale"].unique().to_list() == ["0..9"]
    counts = drawn["response"].value_counts()
    assert len(counts) == 10 and counts["count"].max() < 80, "uniform, though everyone answered 7"
    elsewhere = answered.with_columns(response=pl.lit(2, pl.Int64))
    assert uniform_answers(elsewhere, seed=1)["response"].equals(drawn["response"])


TEXT = 'The city may adopt the plan "{}". How much do you support it? Only return an integer from 1 to 7.'
TEXTS = [TEXT.format(name) for name in ("dretruk", "gutak", "deklok")] * 20


def test_superwords_shorten_a_prompt_and_keep_names_apart():
    plain, joined = (train_tokenizer(TEXTS, 400, superwords) for superwords in (False, True))
    text = TEXT.format("mabru")
    assert len(joined(text)["input_ids"]) < 0.7 * len(plain(text)["input_ids"])
    tokens = [joined.decode([token]) for token in joined(text)["input_ids"]]
    assert "".join(tokens) == text
    start = "".join(tokens).index('"mabru"')
    inside = 0
    for token in tokens:  # no token reaches over an edge of the name
        assert not inside < start < inside + len(token)
        assert not inside < start + len('"mabru"') < inside + len(token)
        inside += len(token)


def test_a_base_folder_s_tokenizer_is_the_one_that_was_trained(tmp_path):
    """AutoTokenizer would go by the model's type and split as Qwen does."""
    trained = train_tokenizer(TEXTS, 400, superwords=True)
    trained.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    assert load_tokenizer(tmp_path)(TEXTS)["input_ids"] == trained(TEXTS)["input_ids"]
