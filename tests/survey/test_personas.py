"""Personas are read as people write them, and what was not understood is told."""

import pytest

from socrates.survey.personas import UNLABELLED, is_missing, parse_persona, persona_fields


@pytest.mark.parametrize(("persona", "fields", "unknown"), [
    ("Age: 30; Political affiliation: Lean left", {"age": "30", "party_id": "Lean left"}, {}),
    ("Employment: Works; part time; Age: 30", {"employment": "Works; part time", "age": "30"}, {}),
    ("Location: Area: north; Age: 30", {"location": "Area: north", "age": "30"}, {}),
    ("Age: 30; Shoe size: 44; wide; Sex: Male", {"age": "30", "gender": "Male"}, {"Shoe size": "44; wide"}),
    ("Income: 40-49K; Age: ", {"income": "40-49K"}, {}),
    ("Education: Other; at 10: 30 school; Age: 9", {"education": "Other; at 10: 30 school", "age": "9"}, {}),
    ("", {}, {}),
    ("Party: Democrat; Race: White", {"party_id": "Democrat", "ethnicity": "White"}, {}),
    ("I am 48; sex=Male; state: Ohio", {"gender": "Male", "location": "Ohio"}, {UNLABELLED: "I am 48"}),
    ("Age: NA; Gender: Female; Income: -9", {"gender": "Female"}, {}),
])  # fmt: skip
def test_personas_are_parsed(persona, fields, unknown):
    assert parse_persona(persona) == (fields, unknown)


def test_what_other_programs_write_for_nothing_is_missing_and_answers_are_not():
    written = ["", " ", "NA", "n/a", "NaN", ".", ".b", "-", "-9", "-99", "999", "#N/A", "null"]
    answers = ["No", "None", "0", "99", "9", "Nan Chang", "Under $10,000", "Don't know"]
    assert [value for value in written + answers if is_missing(value)] == written


def test_what_was_read_and_what_was_not_is_one_line():
    assert persona_fields({"age": 3, "income": 1}, {"Sect": 3}, 3) == (
        "persona from age, income (1 of 3 rows); not understood: Sect (3 rows)"
    )
    assert "no row has a field" in persona_fields({}, {}, 3)
