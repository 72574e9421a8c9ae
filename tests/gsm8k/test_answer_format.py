"""Reading the XML answer format: what counts as the format, and which number an answer states."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsm8k import answer_format as answers

GOOD = answers.format_completion("3 bags of 4\n3*4=12", "12")

NUMBERS = {
    **{"18": "18", " 18 ": "18", "18.": "18", "18.0": "18", "$ 18.00": "18", "007": "7", "1,000": "1000"},
    **{
        "109,200,000": "109200000",
        "$1,234.50.": "1234.5",
        ".5": "0.5",
        "0.1": "0.1",
        "-3": "-3",
        "50%": "50",
    },
    **{"\u22123": "-3", "-$5": "-5", "$-5": "-5", "+7": "7", "-0": "0", "000": "0", "100": "100"},
}
NO_NUMBERS = [
    *("", ".", "-", "$", "%", "eighteen", "18 or 19", "1,00", "1,0000", "1 2", "1/2", "--3", "-$-5"),
    *("x = 18", "18 apples", "1e3", "nan", "inf", "\u0661\u0662", "9" * 5000),
]


@pytest.mark.parametrize(("text", "shortest"), NUMBERS.items())
def test_a_number_is_read_whatever_its_notation_and_written_shortest(text, shortest):
    value = answers.parse_number(text)
    assert value is not None and answers.format_number(value) == shortest


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_not_one_number_is_none(text):
    assert answers.parse_number(text) is None


@given(st.decimals(min_value=-(10**12), max_value=10**12, places=20))
def test_the_shortest_notation_reads_back_as_the_same_number(value):
    assert answers.parse_number(answers.format_number(value)) == value


@pytest.mark.parametrize(
    "text", [GOOD, GOOD + "\n", answers.format_completion("4 < 4.8 < 5, so 5 </b>", "5")]
)
def test_the_two_blocks_are_strict_with_several_lines_and_comparison_signs(text):
    assert answers.is_strict(text) and answers.is_soft(text)


BLOCKS = [("", "12"), ("  ", "12"), ("3*4", ""), ("<answer>\n11\n</answer>", "12")]
LOOSE = [
    *("So: " + GOOD, "\n" + GOOD, GOOD + " done", GOOD + "\n\n", GOOD + "\n" + GOOD, ""),
    *(GOOD.replace("<answer>\n", "<answer>"), GOOD.replace("\n</reasoning>", "</reasoning>")),
    *(GOOD.replace("</answer>", ""), *(answers.format_completion(*each) for each in BLOCKS)),
]


@pytest.mark.parametrize("text", LOOSE)
def test_anything_else_is_not_strict(text):
    assert not answers.is_strict(text)


@pytest.mark.parametrize(
    ("text", "soft", "number"),
    [
        (GOOD, True, 12),
        ("\n<reasoning>a\nb</reasoning>\n\n<answer>$1,000</answer> and more", True, 1000),
        ("Well. <reasoning>a</reasoning><answer>1</answer>", False, 1),
        ("<answer>1</answer><reasoning>a</reasoning>", False, 1),
        ("<reasoning>a</reasoning> so <answer>1</answer> no, <answer>2</answer>", False, 2),
        ("<reasoning>a</reasoning><answer>1", False, None),
        ("<answer>1</answer> no, <answer>2", False, 1),
        ("1</answer>", False, None),
        ("<answer>many</answer>", False, None),
    ],
)
def test_soft_format_asks_for_the_two_blocks_in_order_and_the_last_complete_answer_counts(text, soft, number):
    assert (answers.is_soft(text), answers.parse_answer(text)) == (soft, number)


def test_answers_are_compared_as_numbers():
    assert answers.is_correct(answers.format_completion("a", "$1,000."), "1000")
    assert not answers.is_correct(answers.format_completion("a", "1,001"), "1000")
    assert not answers.is_correct(answers.format_completion("a", "many"), "many")
