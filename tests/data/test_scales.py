"""Answer instructions of every form met in the data, and of forms a user may type, in our own words."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socrates.core.errors import DataError
from socrates.data.scales.instructions import parse_instruction
from socrates.data.scales.resolve import conforms, resolve_scales
from socrates.survey.scales import Scale, nearest, scale, thin_scale
from tests.shared import SHARED

# The rule and scale that each text must give ("one_sided 1..": an open end), and the text.
LINES = Path(__file__).with_name("instructions.tsv").read_text(encoding="utf-8").splitlines()[1:]
READ = [(text.replace("\\n", "\n"), expected) for expected, text in (line.split("\t") for line in LINES)]


def read(text):
    found = parse_instruction(text)
    if found is None:
        return "nothing"
    ends = ("" if end is None else str(end) for end in (found.low, found.high))
    return f"{found.rule} {found.scale.notation if found.scale else '..'.join(ends)}"


@pytest.mark.parametrize(("text", "expected"), READ)
def test_reads_the_instruction(text, expected):
    assert read(text) == expected


@pytest.mark.parametrize(("text", "expected"), [case for case in READ if "return" in case[0].lower()])
def test_numbers_of_the_scenario_change_nothing(text, expected):
    scenario = (
        "You read “Of people aged 18 to 35, 3 in 10 earn $5 to $10 an hour. In 2019, on a scale from 1 to 9, "
        "the town was given a 4. Only return an integer from 2 to 8. Then 12-15 left.” and then were asked: "
    )
    assert read(scenario + "“What do you say?” " + text).split()[1:] == expected.split()[1:]


LABELS = st.sampled_from(["not at all", "less than 5 times", "$20 up", "Don’t know", "I'd go", "6-9 days"])
QUOTES = st.sampled_from([("'", "'"), ('"', '"'), ("“", "”"), ("‘", "’")])
OPENINGS = st.sampled_from(
    ["Only return an integer ", "Please respond with a number ", "Your answer should be "]
)
ENDINGS = st.sampled_from([".", ', nothing else."', ", nothing else.”", "", " representing dollars."])
RANGES = ["from {} to {}", "between {} and {}", "from {} through {}", "from {}–{}", "in the range {} to {}"]
LABELLED = [
    "from {low} to {high}, where {low} means {a} and {high} means {b}",
    "from {low} to {high}, where {low} = {a} and {high} = {b}",
    "from {low} ({a}) to {high} ({b})",
    "between {low} ({a}) and {high} ({b})",
    "from {low} to {high} ({low}={a}; {high}={b})",
    "from {low} to {high}, with {low} being {a} and {high} being {b}",
]


@st.composite
def ends(draw):
    low = draw(st.one_of(st.integers(-10, 10), st.integers(-100_000, 100_000)))
    return low, low + draw(st.one_of(st.integers(1, 10), st.integers(1, 50_000)))


def spell(value, money, commas):
    digits = f"{abs(value):,}" if commas else str(abs(value))
    return ("-" if value < 0 else "") + ("$" if money and value >= 0 else "") + digits


@settings(max_examples=150, deadline=None)
@given(ends(), OPENINGS, st.sampled_from(RANGES), ENDINGS, st.booleans(), st.booleans())
def test_any_range_reads_back(span, opening, form, ending, money, commas):
    text = opening + form.format(*(spell(end, money, commas) for end in span)) + ending
    assert read("How much is it? " + text) == f"range {span[0]}..{span[1]}"


@settings(max_examples=150, deadline=None)
@given(ends(), LABELS, LABELS, QUOTES, st.sampled_from(LABELLED), ENDINGS)
def test_labels_at_the_ends_leave_the_range_alone(span, a, b, quotes, form, ending):
    low, high = span
    labels = {"a": f"{quotes[0]}{a}{quotes[1]}", "b": f"{quotes[0]}{b}{quotes[1]}"}
    text = f"Only return an integer {form.format(low=low, high=high, **labels)}{ending}"
    assert read(text) == f"range {low}..{high}"


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="Only return an integer from1257 to,.?!;()'\"“”-–$%=\n", max_size=200))
def test_any_text_gives_a_scale_or_none(text):
    found = parse_instruction(text)
    assert found is None or found.scale is None or len(found.scale.options) >= 2


@pytest.mark.parametrize(
    "words",
    [
        "Only return 1 ",
        "Only return 1 if ",
        "1 to ",
        "\n",
        "1~",
        "if a, enter 1. ",
        "1. a 2. b 3. c ",
        "<b>",
        "&amp;",
    ],
)
def test_a_long_text_of_instructions_that_state_nothing_ends(words):
    """Read as a whole, each of these would take minutes to hours."""
    long = words * (200_000 // len(words))
    assert read(long) == "nothing"
    assert read(f"{long}. How warm? Only return an integer from 1 to 7.") == "range 1..7"


def responses(*rows):
    columns = ["study_id", "condition_num", "task_num", "stimuli", "response"]
    return pl.DataFrame(rows, schema=columns, orient="row")


OPEN = "How many euros? Only return an integer."
STATED = "How good? Only return an integer from 1 to 5, or 99 for no opinion."
ATLEAST = "How many? Only return an integer of at least 2."


def test_an_unstated_scale_is_what_the_whole_question_showed():
    table = responses(
        ("a", 0, 1, OPEN, 30), ("a", 1, 1, OPEN, 10), ("a", 1, 2, OPEN, 7), ("b", 0, 1, STATED, 99)
    )
    resolved = resolve_scales(table)
    assert resolved["scale"].to_list() == ["10..30", "10..30", None, "1,2,3,4,5,99"]
    assert resolved["scale_rule"].to_list() == ["observed", "observed", None, "range"]
    assert resolved.columns == [*table.columns, "scale", "scale_rule"]


def test_an_open_end_is_what_the_question_showed():
    table = responses(("a", 0, 1, ATLEAST, 3), ("a", 1, 1, ATLEAST, 9), ("a", 0, 2, ATLEAST, 2))
    resolved = resolve_scales(table)
    assert resolved["scale"].to_list() == ["2..9", "2..9", None]
    assert resolved["scale_rule"].to_list() == ["one_sided+observed"] * 2 + [None]


def test_the_order_of_rows_is_kept():
    rows = (("a", 0, at % 3, f"Only return an integer from 1 to {2 + at % 7}.", 1) for at in range(50))
    table = responses(*rows)
    resolved = resolve_scales(table)
    assert resolved.select(table.columns).equals(table)
    assert resolved["scale"].to_list() == [f"1..{2 + at % 7}" for at in range(50)]


def test_answers_outside_the_stated_scale_do_not_conform():
    table = responses(
        ("a", 0, 1, STATED, 5), ("a", 0, 1, STATED, 6), ("a", 0, 1, STATED, 99), ("a", 0, 1, OPEN, 10**7),
        ("a", 0, 1, ATLEAST, 1), ("a", 0, 1, ATLEAST, 10**6),
    )  # fmt: skip
    assert conforms(table).to_list() == [True, False, True, True, False, True]


@pytest.mark.parametrize("notation", ["1..7", "0..1000/100", "1,2,98", "-3..3", "1,5", "0..60100000"])
def test_notation_reads_back(notation):
    assert scale(notation).notation == notation


def test_equal_scales_compare_equal():
    assert Scale((1, 2, 3)) == Scale(range(1, 4)) == scale("1..3") == scale("3,1,2")
    assert hash(Scale((1, 2, 3))) == hash(scale("1..3"))


@pytest.mark.parametrize("notation", ["", "1", "3..1", "1..1", "a..b", "1..7/0", "1.5..3", "1...5"])
def test_no_scale_is_refused_by_name(notation):
    with pytest.raises(DataError, match=re.escape(repr(notation))):
        scale(notation)


def test_a_grid_keeps_ends_and_round_numbers():
    assert thin_scale(scale("0..100"), 101) == scale("0..100")
    thin = thin_scale(scale("0..2000"), 1001)
    assert {0, 1, 7, 99, 100, 998, 1000, 1500, 2000} <= set(thin.options)
    wide = thin_scale(scale("-7..60100000"), 1001)
    assert {-7, 0, 25, 1500, 250_000, 60_100_000} <= set(wide.options)
    assert thin_scale(scale("3..5000"), 2) == scale("3,5000")
    with pytest.raises(DataError, match=r"predict\.max_options"):
        thin_scale(scale("0..10"), 1)


@settings(max_examples=150, deadline=None)
@given(ends(), st.integers(1, 9), st.integers(2, 200))
def test_a_grid_is_a_part_of_its_scale(span, step, most):
    low, high = span
    whole = Scale(range(low, max(high, low + step) + 1, step))
    thin = thin_scale(whole, most)
    assert len(thin.options) <= max(most, 2)
    assert set(thin.options) <= set(whole.options)
    assert (thin.low, thin.high) == (whole.low, whole.high)


@settings(max_examples=150, deadline=None)
@given(st.sets(st.integers(-50, 50), min_size=2), st.lists(st.integers(-99, 99), min_size=1))
def test_nearest_option_is_the_nearest(options, answers):
    on = Scale(sorted(options))
    for answer, chosen in zip(answers, nearest(on, np.array(answers)), strict=True):
        assert chosen == min(on.options, key=lambda option, answer=answer: (abs(option - answer), option))


VALIDATION = SHARED / "data/socsci210/val.jsonl"


@pytest.mark.skipif(not VALIDATION.exists(), reason="the data are not beside the project")
def test_the_instructions_of_the_validation_split():
    """Every one was read by eye; these counts are what the eye found."""
    found = {}
    for row in map(json.loads, VALIDATION.read_text().splitlines()):
        text = row["input"].split("Scenario: ", 1)[1]
        found.setdefault(text[text.rindex("Only return") :], set()).add(read(text))
    assert all(len(each) == 1 for each in found.values())  # whatever stands before an instruction
    assert Counter(rule for each in found.values() for rule in each) == {
        **{"nothing": 2, "labels 1..2": 5, "labels 1..3": 1, "one_sided 1..4": 1, "range 0..10": 4},
        **{"range 0..100": 6, "range 0..1200": 1, "range 0..2000": 1, "range 0..2800": 1, "range 0..6": 1},
        **{"range 1..4": 5, "range 1..5": 8, "range 1..6": 2, "range 1..7": 13},
    }
