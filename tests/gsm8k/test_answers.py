"""Reading the XML answer format: what counts as the format, and which number an answer states."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsm8k import answers

GOOD = answers.wrap("3 bags of 4\n3*4=12", "12")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18),
        (" 18 ", 18),
        ("18.", 18),
        ("18.0", 18),
        ("$18", 18),
        ("$ 18.00", 18),
        ("1,000", 1000),
        ("109,200,000", 109_200_000),
        ("$1,234.50.", Fraction(2469, 2)),
        ("-3", -3),
        ("\u22123", -3),
        ("-$5", -5),
        ("$-5", -5),
        ("+7", 7),
        ("50%", 50),
        ("1/2", Fraction(1, 2)),
        ("-1/2", Fraction(-1, 2)),
        (".5", Fraction(1, 2)),
        ("0.1", Fraction(1, 10)),
        ("007", 7),
    ],
)
def test_a_number_is_read_whatever_its_notation(text: str, value: Fraction) -> None:
    assert answers.number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "-",
        "$",
        "%",
        "eighteen",
        "18 or 19",
        "1,00",
        "1,0000",
        "1 2",
        "1/0",
        "1.5/2",
        "--3",
        "-$-5",
        "x = 18",
        "18 apples",
        "1e3",
        "nan",
        "inf",
        "\u0661\u0662",
        "9" * 5000,
    ],
)
def test_what_is_not_one_number_is_none(text: str) -> None:
    assert answers.number(text) is None


@given(st.fractions(max_denominator=10**6).filter(lambda value: abs(value) < 10**12))
def test_the_shortest_notation_reads_back_as_the_same_number(value: Fraction) -> None:
    assert answers.number(answers.number_text(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(18), "18"),
        (Fraction(-7), "-7"),
        (Fraction(1, 2), "0.5"),
        (Fraction(-1, 40), "-0.025"),
        (Fraction(1, 3), "1/3"),
        (Fraction(0), "0"),
        (Fraction(9, 2), "4.5"),
    ],
)
def test_numbers_are_written_shortest(value: Fraction, text: str) -> None:
    assert answers.number_text(value) == text


def test_several_lines_of_reasoning_keep_to_the_format() -> None:
    assert answers.is_strict(GOOD)
    assert answers.is_soft(GOOD)


def test_a_newline_after_the_last_tag_is_neither_needed_nor_wrong() -> None:
    assert answers.is_strict(GOOD + "\n")
    assert not answers.is_strict(GOOD + "\n\n")


@pytest.mark.parametrize(
    "text",
    [
        "So: " + GOOD,
        "\n" + GOOD,
        GOOD + " done",
        GOOD + "\n" + GOOD,
        GOOD.replace("<answer>\n", "<answer>"),
        GOOD.replace("\n</reasoning>", "</reasoning>"),
        GOOD.replace("</answer>", ""),
        answers.wrap("", "12"),
        answers.wrap("  ", "12"),
        answers.wrap("3*4=12", ""),
        answers.wrap("<answer>\n11\n</answer>", "12"),
        "",
    ],
)
def test_anything_else_is_not_strict(text: str) -> None:
    assert not answers.is_strict(text)


@pytest.mark.parametrize(
    ("text", "soft"),
    [
        ("<reasoning>a</reasoning><answer>1</answer>", True),
        ("\n<reasoning>a\nb</reasoning>\n\n<answer>1</answer> and more", True),
        ("Well. <reasoning>a</reasoning><answer>1</answer>", False),
        ("<answer>1</answer><reasoning>a</reasoning>", False),
        ("<reasoning>a</reasoning> so <answer>1</answer>", False),
        ("<reasoning>a</reasoning><answer>1", False),
    ],
)
def test_soft_format_asks_for_the_two_blocks_in_order(text: str, soft: bool) -> None:
    assert answers.is_soft(text) is soft


def test_a_comparison_sign_in_the_reasoning_is_not_a_tag() -> None:
    assert answers.is_strict(answers.wrap("4 < 4.8 < 5, so 5 bags </b>", "5"))


@pytest.mark.parametrize(
    ("text", "given_answer"),
    [
        (GOOD, "12"),
        ("<answer> $1,000 </answer>", "$1,000"),
        ("<answer>1</answer> no, <answer>2</answer>", "2"),
        ("<answer>1</answer> no, <answer>2", "1"),
        ("12", None),
        ("<answer>1", None),
        ("1</answer>", None),
    ],
)
def test_the_last_complete_answer_block_counts(text: str, given_answer: str | None) -> None:
    assert answers.extract(text) == given_answer


def test_answers_are_compared_as_numbers() -> None:
    assert answers.is_correct(answers.wrap("a", "$1,000."), "1000")
    assert not answers.is_correct(answers.wrap("a", "1,001"), "1000")
    assert not answers.is_correct("1000", "1000")  # stated outside the answer block
    assert not answers.is_correct(answers.wrap("a", "many"), "many")
