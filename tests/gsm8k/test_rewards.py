"""What a completion earns, part by part."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsm8k import answer_format as answers
from gsm8k import rewards
from gsm8k.params import Rewards

FORMATS = {"strict_format": 0.5, "soft_format": 0.5, "tags": 0.5}
WEIGHTS = Rewards(correctness=2.0, integer=0.5, **FORMATS, trailing_penalty=0.002)
FULL = 4.0  # right and well-formed
GOOD = answers.format_completion("6*7=42\n42-2=40", "40")


def scores(completion, answer, weights=WEIGHTS):
    """By part, as TRL asks for them, beside another completion's."""
    said = [[{"role": "assistant", "content": text}] for text in (completion, GOOD)]
    parts = rewards.reward_functions(weights)
    return {part.__name__: part(completions=said, answer=[answer, "0"], prompts=[])[0] for part in parts}


@pytest.mark.parametrize(
    ("stated", "answer", "correctness", "integer"),
    [("40", "40", 2.0, 0.5), ("40", "41", 0.0, 0.5), ("4.5", "4.5", 2.0, 0.0)]
    + [(notation, "1000", 2.0, 0.5) for notation in ("1,000", "$1000", "1000.", "1000.0")],
)
def test_a_well_formed_completion_earns_by_its_number(stated, answer, correctness, integer):
    parts = scores(answers.format_completion("6*7=42\n42-2=40", stated), answer)
    assert parts == {"correctness": correctness, "integer": integer, **FORMATS}


@pytest.mark.parametrize("text", ["", "40", "no idea", "<answer>", "<reasoning>\n40"])
def test_no_answer_block_earns_neither_correctness_nor_integer(text):
    parts = scores(text, "40")
    assert (parts["correctness"], parts["integer"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "quarters"),
    [
        ("<reasoning>\n6*7", 1),
        ("<reasoning>\n6*7\n</reasoning>", 2),
        ("<reasoning>\n6*7\n</reasoning>\n<answer>\n42", 3),
        ("<reasoning>6*7</reasoning><answer>42</answer>", 0),
        (GOOD.replace("<answer>", "<answer>\n<answer>"), 3),
        ("<reasoning>\n" + 1000 * "x", 1),  # without a closing tag nothing is charged
    ],
)
def test_each_tag_on_its_own_line_earns_a_quarter(text, quarters):
    assert scores(text, "40")["tags"] == 0.125 * quarters


@pytest.mark.parametrize(("rest", "charged"), [("", 0), ("\n", 0), ("\n" + 1000 * "x", 1000)])
def test_text_after_the_closing_tag_is_charged_by_the_character(rest, charged):
    assert scores(GOOD + rest, "40")["tags"] == pytest.approx(0.5 - charged * 0.002)


@given(st.text(alphabet="<>/\n 4reasonigw", max_size=80), st.integers(-5, 50).map(str))
def test_no_completion_earns_more_than_everything(text, answer):
    parts = scores(text, answer)
    assert list(parts) == list(rewards.PARTS)
    assert math.isfinite(sum(parts.values())) and sum(parts.values()) <= FULL


def test_a_part_without_weight_is_not_asked_for():
    weights = WEIGHTS.model_copy(update={"tags": 0.0})
    assert list(scores(GOOD + "xyz", "40", weights)) == [part for part in rewards.PARTS if part != "tags"]
