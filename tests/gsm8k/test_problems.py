"""Word problems: reading them from files, counting what cannot be used, making them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from gsm8k import answer_format as answers
from gsm8k import problem_sources as sources
from gsm8k import problems, rewards, word_problems
from gsm8k.params import Problems, Rewards, Synthetic
from socrates.core.errors import DataError, SourceError
from tests.shared import SHARED

GSM8K = SHARED / "data" / "gsm8k"
DIFFICULTY = Synthetic(train=200, test=50, min_steps=1, max_steps=3, max_number=20, seed=3)
WEIGHTS = Rewards(
    correctness=2.0, integer=0.5, strict_format=0.5, soft_format=0.5, tags=0.5, trailing_penalty=0.002
)
FULL = sum(getattr(WEIGHTS, part) for part in rewards.PARTS)  # right and well-formed


def record(question: object = "How many?", answer: object = "2+2=4\n#### 4") -> dict[str, object]:
    return {"question": question, "answer": answer}


def test_a_record_becomes_question_solution_and_number() -> None:
    parsed = problems.parse([record(" How much? ", "500*2 is a lot\n#### $1,000")])
    assert parsed.table.rows() == [(0, "How much?", "500*2 is a lot", "1000")]
    assert parsed.table.schema == problems.PROBLEMS
    assert parsed.rejected == {}


def test_what_cannot_be_used_is_counted_by_reason_and_leaves_its_number_free() -> None:
    parsed = problems.parse(
        [
            record(),
            None,
            record(question="  "),
            record(question=None),
            record(answer="the answer is 4"),
            record(answer=4),
            record(answer="#### four"),
            {},
            record(),
        ]
    )
    assert parsed.table["problem_id"].to_list() == [0, 8]
    assert parsed.rejected == {
        "answer is not a number": 1,
        "empty question": 3,
        "no #### before the answer": 2,
        "unreadable record": 1,
    }


def test_too_many_unusable_problems_fail_with_the_counts() -> None:
    parsed = problems.parse([record(), record(), record(answer="none")])
    problems.check_rejected(parsed, 0.34, "train")
    with pytest.raises(DataError, match=r"train: 1 of 3 .*1 no ####"):
        problems.check_rejected(parsed, 0.3, "train")


def test_a_split_without_a_problem_fails_even_if_everything_may_be_rejected() -> None:
    with pytest.raises(DataError, match="test: no usable problem among 0 records"):
        problems.check_rejected(problems.parse([]), 1.0, "test")


def local(folder: Path) -> Problems:
    return Problems(
        source="local",
        path=str(folder),
        repo="",
        config="",
        revision="0" * 40,
        max_rejected=0.0,
        synthetic=DIFFICULTY,
    )


def write_jsonl(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_local_folder_is_read_and_broken_lines_are_counted(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", [json.dumps(record()), "{broken", "[]", "", json.dumps(record())])
    write_jsonl(tmp_path / "test.jsonl", [json.dumps(record("Line\u2028break?"))])
    found = sources.read_records(local(tmp_path))
    parsed = problems.parse(found["train"])
    assert (parsed.table.height, parsed.rejected) == (2, {"unreadable record": 2})
    assert problems.parse(found["test"]).table["question"].to_list() == ["Line\u2028break?"]


@pytest.mark.parametrize(
    ("train", "message"), [(b"{}\n", r"test\.jsonl: not found"), (b"\xff\xfe\x00", "not UTF-8")]
)
def test_a_file_that_cannot_be_read_is_named(train: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(train)
    with pytest.raises(SourceError, match=message):
        sources.read_records(local(tmp_path))


def test_synthetic_problems_repeat_with_the_seed_and_never_across_splits() -> None:
    made = word_problems.make_records(DIFFICULTY)
    assert made == word_problems.make_records(DIFFICULTY)
    assert made != word_problems.make_records(DIFFICULTY.model_copy(update={"seed": 4}))
    questions = [row["question"] for split in made.values() for row in split if row]
    assert (len(made["train"]), len(made["test"])) == (200, 50)
    assert len(set(questions)) == len(questions)


def test_every_synthetic_step_is_true_and_stays_within_the_numbers_allowed() -> None:
    rng = np.random.default_rng(5)
    for _ in range(500):
        question, solution = word_problems.make_problem(rng, steps=3, max_number=20)
        *steps, last = solution.split("\n")
        assert len(steps) == 3
        for step in steps:
            left, sign, right, result = re.fullmatch(r"(\d+)([-+*/])(\d+)=(\d+)", step).groups()  # type: ignore[union-attr]
            a, b = int(left), int(right)
            assert {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[sign] == int(result)
        assert last == f"#### {steps[-1].split('=')[1]}"
        numbers = [int(digits) for digits in re.findall(r"\d+", question + solution)]
        assert all(1 <= value <= 20 for value in numbers)


def test_more_problems_than_there_are_is_refused() -> None:
    few = Synthetic(train=100_000, test=10, min_steps=1, max_steps=1, max_number=5, seed=3)
    with pytest.raises(DataError, match="100010 different problems were asked for"):
        word_problems.make_records(few)


def test_synthetic_references_earn_the_full_reward() -> None:
    table = problems.parse(word_problems.make_records(DIFFICULTY)["train"]).table
    assert table.height == 200
    for _, _, solution, answer in table.iter_rows():
        completion = answers.format_completion(solution, answer)
        assert sum(rewards.score(completion, answer, WEIGHTS).values()) == FULL


@pytest.mark.skipif(not GSM8K.is_dir(), reason="GSM8K's JSONL files are not beside the project")
def test_all_of_gsm8k_loads_and_every_reference_earns_the_full_reward() -> None:
    parsed = {split: problems.parse(found) for split, found in sources.read_records(local(GSM8K)).items()}
    assert {split: part.table.height for split, part in parsed.items()} == {"train": 7473, "test": 1319}
    assert all(part.rejected == {} for part in parsed.values())
    for part in parsed.values():
        for problem_id, _, solution, answer in part.table.iter_rows():
            assert answers.parse_number(answer) is not None
            completion = answers.format_completion(solution, answer)
            earned = sum(rewards.score(completion, answer, WEIGHTS).values())
            assert earned == FULL, f"problem {problem_id}: {completion}"
