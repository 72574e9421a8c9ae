"""Texts that say the same are found though names, numbers, filler words or the order of sentences differ."""

import random

import polars as pl
import pytest

from socrates.data.near_duplicates import (
    THRESHOLD,
    flag_near_duplicates,
    linked_studies,
    near_duplicates,
    similarities,
    text_parts,
)

FILLERS = {"people": "citizens", "says": "states", "many": "several", "big": "large"}
PLACES = ("Alderton", "New Brackley", "Corvale Heights", "Dunmere")


def scenario(rng, places=PLACES):
    """Four sentences of words of its own, with a place, a number and fillers."""
    word = lambda: "".join(rng.choice("bdfgklmnprst") + rng.choice("aeiou") for _ in range(rng.randint(2, 4)))  # noqa: E731
    return (
        f"You read about a {word()} {word()} in {rng.choice(places)} for {rng.randint(10, 900)} people. "
        f"The council says that the {word()} would {word()} many {word()} {word()}. "
        f"Some fear a big {word()} of {word()}, and {word()} {word()} costs {rng.randint(2, 90)} dollars. "
        f"A report finds that {word()} {word()} more often than {word()}."
    )


def with_other_places(text, rng):
    for place in PLACES:
        text = text.replace(place, rng.choice(["Ebbing", "Fort Garrow"]))
    return text


def with_other_numbers(text, rng):
    return "".join(str(rng.randint(1, 9)) if c.isdigit() else c for c in text)


def with_synonyms(text, rng):
    for word in rng.sample(sorted(FILLERS), 2):
        text = text.replace(f" {word} ", f" {FILLERS[word]} ")
    return text


def reordered(text, rng):
    sentences = text.rstrip(".").split(". ")
    rng.shuffle(sentences)
    return ". ".join(sentences) + "."


TEXTS = [scenario(random.Random(seed)) for seed in range(100)]
STUDIES = [f"s{i}" for i in range(100)]


@pytest.mark.parametrize("change", [with_other_places, with_other_numbers, with_synonyms, reordered])
def test_at_least_95_of_100_planted_near_duplicates_are_found(change):
    changed = [change(text, random.Random(i)) for i, text in enumerate(TEXTS)]
    pairs = similarities([*TEXTS, *changed], [*STUDIES, *(f"t{i}" for i in range(100))]).tocsr()
    assert sum(pairs[i, 100 + i] >= THRESHOLD for i in range(100)) >= 95


def test_at_most_1_of_100_unrelated_texts_is_flagged():
    assert len(set(similarities(TEXTS, STUDIES).nonzero()[0])) <= 1


def test_a_template_that_all_studies_share_links_none_of_them():
    topics = "make buses free, ban school phones, raise wages, build stadiums, plant trees, hire nurses"
    plan = "You read about a plan in Oak Hill to {}. The council decides next month."
    texts = [plan.format(topic) for topic in topics.split(", ")]
    assert similarities(texts, STUDIES[:6]).nnz == 0


def test_texts_equal_but_for_a_name_are_near_duplicates_even_where_every_study_has_them():
    texts = ["A plan in Oak Hill is here.", "A plan in Elm Bay is here."]
    assert similarities(texts, ["a", "b"]).nnz == 1


def test_texts_of_one_study_are_not_compared():
    assert similarities([TEXTS[0], TEXTS[0]], ["a", "a"]).nnz == 0


def test_parts_are_scenario_question_and_instruction():
    parts = ("Ada moved to Oslo. Taxes rose.", "Do you support it?", "Only return an integer from 1 to 7.")
    honest = "Please answer honestly."
    assert text_parts(" ".join(parts)) == parts
    assert text_parts("Only return 1 or 2.") == ("", "", "Only return 1 or 2.")
    assert text_parts(" ".join([honest, *parts])) == (f"{honest} {parts[0]}", *parts[1:])
    without = (honest, "Rate it.", "Only return 1 to 7. Please give a number.")
    assert text_parts(" ".join(without)) == without


def test_a_word_that_stands_in_small_letters_anywhere_is_no_name():
    others = ["an oak or an elm", "Oak.", "Elm."]
    assert similarities(["Oak grows.", "Elm grows.", *others], list("abcde")).nnz == 0
    assert similarities(["Oak grows.", "Elm grows."], ["a", "b"]).nnz == 1


def table(*rows):
    return pl.DataFrame(rows, schema=["study_id", "stimuli"], orient="row")


ASK = " Do you support it? Only return an integer from 1 to 7."


def test_the_most_similar_training_text_is_named_and_the_test_text_flagged():
    train = table(("a", TEXTS[0] + ASK), ("b", TEXTS[1] + ASK))
    test = table(("c", with_other_places(TEXTS[1], random.Random(0)) + ASK), ("d", TEXTS[2] + ASK))
    found = near_duplicates(train, test).filter(part="scenario")
    assert found.select("test_study", "train_study").rows() == [("c", "b")]
    assert flag_near_duplicates(test["stimuli"].to_list(), found) == [True, False]


def test_studies_that_share_a_scenario_are_one_group_also_over_a_third():
    asked = [("a", 0), ("b", 0), ("b", 1), ("c", 1), ("d", 2)]
    groups = linked_studies(table(*((study, TEXTS[text] + ASK) for study, text in asked)))
    assert groups["a"] == groups["b"] == groups["c"] != groups["d"]


@pytest.mark.parametrize(
    "text", [f"Please answer honestly. {TEXTS[0]}{ASK}", ASK.strip(), "Only return 1 or 2."]
)
def test_a_text_that_two_studies_share_links_and_flags_whatever_its_parts(text):
    both = table(("a", text), ("b", text), ("c", TEXTS[2] + " Would you? Only return 3."))
    groups = linked_studies(both)
    assert groups["a"] == groups["b"] != groups["c"]
    assert flag_near_duplicates([text], near_duplicates(both[:1], both[1:])) == [True]
