"""Word problems: reading them from files, counting what cannot be used, making them."""

import json
import re

import numpy as np
import pytest

from gsm8k import answer_format as answers
from gsm8k import problem_sources as sources
from gsm8k.params import Problems, Synthetic
from gsm8k.problems import PROBLEMS
from socrates.core.errors import DataError, SourceError
from tests.gsm8k.test_rewards import FULL, scores
from tests.shared import SHARED

GSM8K = SHARED / "data" / "gsm8k"
DIFFICULTY = Synthetic(train=200, test=50, min_steps=1, max_steps=3, max_number=20, seed=3)
GOOD = ("How many?", "2+2=4\n#### 4")


def test_a_record_becomes_question_solution_and_number():
    table, rejected = sources.parse([(" How much? ", "500*2 is a lot\n#### $1,000")], "train", 0.0)
    assert table.rows() == [(0, "How much?", "500*2 is a lot", "1000")]
    assert table.schema == PROBLEMS and not rejected


def test_what_cannot_be_used_is_counted_by_reason_and_leaves_its_number_free():
    unusable = ["it is 4", None, "#### four"]
    bad = [("  ", GOOD[1]), (None, None), *(("How many?", answer) for answer in unusable)]
    table, rejected = sources.parse([GOOD, *bad, GOOD], "train", 5 / 7)
    assert table["problem_id"].to_list() == [0, 6]
    assert rejected == "1 answer is not a number, 2 empty question, 2 no #### before the answer"
    with pytest.raises(
        DataError, match=r"train: 5 of 7 problems are unusable \(1 answer is not a number, 2 "
    ):
        sources.parse([GOOD, *bad, GOOD], "train", 0.7)
    with pytest.raises(DataError, match="test: no usable problem among 0 records"):
        sources.parse([], "test", 1.0)


def local(folder):
    none = {"repo": "", "config": "", "revision": "0" * 40, "max_rejected": 0.0}
    return Problems(source="local", path=str(folder), synthetic=DIFFICULTY, **none)


def test_a_local_folder_is_read(tmp_path):
    lines = [{"question": "Line\u2028break?", "answer": GOOD[1]}, {"question": "No answer"}]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    records = sources.read_records(local(tmp_path), "test")
    assert records == [("Line\u2028break?", GOOD[1]), ("No answer", None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, r"train\.jsonl: not found"), (b"\xff\xfe\x00", "cannot be used"), (b"{broken\n", "cannot be used"),
     (b'{"text": "no question"}\n', "cannot be used")],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named(content, message, tmp_path):
    if content:
        (tmp_path / "train.jsonl").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        sources.read_records(local(tmp_path), "train")


def test_synthetic_problems_repeat_with_the_seed_and_never_across_splits():
    made = sources.make_records(DIFFICULTY)
    assert made == sources.make_records(DIFFICULTY)
    assert made != sources.make_records(DIFFICULTY.model_copy(update={"seed": 4}))
    questions = [question for split in made.values() for question, _ in split]
    assert (len(made["train"]), len(made["test"])) == (200, 50)
    assert len(set(questions)) == len(questions)


def test_every_synthetic_step_is_true_and_stays_within_the_numbers_allowed():
    rng = np.random.default_rng(5)
    for _ in range(500):
        question, solution = sources.make_problem(rng, steps=3, max_number=20)
        *steps, last = solution.split("\n")
        assert len(steps) == 3
        for step in steps:
            left, sign, right, result = re.fullmatch(r"(\d+)([-+*/])(\d+)=(\d+)", step).groups()
            a, b = int(left), int(right)
            assert {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[sign] == int(result)
        assert last == f"#### {steps[-1].split('=')[1]}"
        numbers = [int(digits) for digits in re.findall(r"\d+", question + solution)]
        assert all(1 <= value <= 20 for value in numbers)


def test_more_problems_than_there_are_is_refused():
    few = Synthetic(train=100_000, test=10, min_steps=1, max_steps=1, max_number=5, seed=3)
    with pytest.raises(DataError, match="100010 different problems were asked for"):
        sources.make_records(few)


@pytest.mark.parametrize("source", ["synthetic", "original"])
def test_every_reference_earns_the_full_reward(source):
    if source == "original" and not GSM8K.is_dir():
        pytest.skip("GSM8K's JSONL files are not beside the project")
    params = local(GSM8K) if source == "original" else local(GSM8K).model_copy(update={"source": source})
    for split, count in (("train", 7473), ("test", 1319)) if source == "original" else (("train", 200),):
        table, rejected = sources.parse(sources.read_records(params, split), split, 0.0)
        assert (table.height, rejected) == (count, "")
        for problem_id, _, solution, answer in table.iter_rows():
            completion = answers.format_completion(solution, answer)
            assert sum(scores(completion, answer).values()) == FULL, f"problem {problem_id}: {completion}"
