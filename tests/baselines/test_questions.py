"""Training questions as examples: the most alike are told with their answers, and nothing else is changed."""

import polars as pl

from socrates.baselines.questions import with_examples

AGREE, LIKELY = "Do you agree with a toll? From 1 to 2.", "How likely is a toll? From 0 to 100."
TRAIN = pl.DataFrame(
    [(AGREE, "1,2", 1)] * 3
    + [(AGREE, "1,2", 2)]
    + [("Is the sky blue? From 1 to 2.", "1,2", 2)] * 4
    + [(LIKELY, "0..100", answer) for answer in (0, 10, 10, 90)],
    ["stimuli", "scale", "response"],
    orient="row",
)
ASKED = pl.DataFrame(
    [
        ("Do you agree with a tax? From 1 to 2.", "1,2", 7),
        ("How likely is a tax? From 0 to 100.", "0..100", 8),
        ("Hot? From 1 to 3.", "1..3", 9),
    ],
    ["stimuli", "scale", "participant"],
    orient="row",
)


def test_the_most_similar_question_of_the_same_length_is_told_with_its_answers():
    told = with_examples(ASKED, TRAIN, 1)
    short, long, none = told["stimuli"]
    assert f"{AGREE}\nAnswers: 1: 75%, 2: 25%\n" in short and "sky" not in short
    assert f"{LIKELY}\nAnswers: a quarter at most 0, half at most 10, three quarters at most 10\n" in long
    assert none == ASKED["stimuli"][2]  # no training question has three options
    assert all(text.endswith(asked) for text, asked in zip(told["stimuli"], ASKED["stimuli"], strict=True))
    assert told.drop("stimuli").equals(ASKED.drop("stimuli"))


def test_the_most_alike_comes_first_and_no_more_than_there_are():
    text = with_examples(ASKED, TRAIN, 5)["stimuli"][0]
    assert text.count("Answers:") == 2 and text.index("toll") < text.index("sky")


def test_of_equally_similar_questions_the_first_are_taken():
    texts = [f"Is a toll in Town {letter} fair?" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    train = pl.DataFrame({"stimuli": texts[::-1], "scale": "1,2", "response": 1})
    told = with_examples(ASKED[:1], train, 20)["stimuli"][0]
    assert [text in told for text in texts] == [True] * 20 + [False] * 6


def test_texts_in_any_script_are_compared():
    for told in ("Согласны ли вы? От 1 до 2.", "你同意吗", "ALL LOUD", "1 2"):
        train = TRAIN.with_columns(
            stimuli=pl.when(pl.col("stimuli") == AGREE).then(pl.lit(told)).otherwise("stimuli")
        )
        asked = ASKED[:1].with_columns(stimuli=pl.lit(told))
        assert with_examples(asked, train, 1)["stimuli"][0].count(told) == 2
        only = train.filter(stimuli=told)
        assert "Answers: 1: 75%" in with_examples(asked, only, 1)["stimuli"][0]
