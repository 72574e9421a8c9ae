"""Local sources: the Alpaca form is understood as a person would, and bad files are named."""

import json

import polars as pl
import pytest

from socrates.core.errors import DataError, SourceError
from socrates.data.sources.clean import clean
from socrates.data.sources.local import open_local, question
from tests.shared import SHARED
from tests.survey_rows import survey

VAL = SHARED / "data/socsci210/val.jsonl"
SOUPS = "You tasted two soups and then were asked: 'Which was warmer?' Only return 1 for 'First' or 2 for 'Second'."


def anything(table):
    return pl.Series([True] * table.height, dtype=pl.Boolean)


def line(**changed):
    told = f"Demographics: Age: 51; Gender: Male\n\nScenario: {SOUPS}"
    row = {"input": told, "output": "Response: 2", "study_id": "soups", "condition_num": 1}
    return json.dumps({"instruction": "Say what this person answers."} | row | changed)


def jsonl(folder, *lines):
    path = folder / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def cleaned(path):
    return clean(open_local(path).tables, anything)


def responses(path):
    return cleaned(path).responses.sort("study_id", "sample_id")


@pytest.mark.parametrize("between", ["; ", ";", ", ", "\n"])
def test_an_alpaca_line_becomes_a_response_whatever_stands_between_labels(tmp_path, between):
    told = f"Demographics: Age: 51{between}Gender: Male\n\nScenario: {SOUPS}"
    (found,) = responses(jsonl(tmp_path, line(input=told))).to_dicts()
    persona = {field: value for field, value in found.pop("demographic").items() if value is not None}
    assert persona == {"age": "51", "gender": "Male"}
    numbers = {"sample_id": 0, "participant": 0, "condition_num": 1, "task_num": 0, "response": 2}
    assert found == {"study_id": "soups", "stimuli": SOUPS, **numbers}


def test_tasks_are_the_distinct_questions_of_a_study(tmp_path):
    warm, safe = "'How warm is it?' Only return 1 or 2.", "'Is it safe?' Only return 1 for Yes or 2 for No."
    scenarios = [("note", safe), ("letter", warm), ("letter", safe), ("note", warm.replace(" ", "\n", 1))]
    told = "Demographics: Age: 40\n\nScenario: You read 'a {}' and then were asked: {}"
    found = responses(jsonl(tmp_path, *(line(input=told.format(*scenario)) for scenario in scenarios)))
    assert found["task_num"].to_list() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("Someone asked a friend. You then were asked: ", "“Is tea better? Only return 1 or 2.”"),
        (
            "A mayor of the U.S. city of Elm spoke. He left! ",
            "How did the U.S. mayor speak? Only return 1 to 4.",
        ),
        ("", "Only one sentence"),
    ],
)
def test_the_question_is_what_was_asked(before, expected):
    assert question(before + expected) == expected


def test_scenario_text_may_hold_the_word_itself(tmp_path):
    told = "Demographics: Age: 3\n\nScenario: First.\n\nScenario: second. Why?"
    found = responses(jsonl(tmp_path, line(input=told), line(input="Scenario: alone"), line(input="no mark")))
    assert found["stimuli"].to_list() == ["First.\n\nScenario: second. Why?", "alone"]
    assert found["demographic"].struct.field("age").to_list() == ["3", None]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"output": "Response: maybe"}, "answer_not_integer"),
        ({"output": "Response: 2.5"}, "answer_not_integer"),
        ({"output": "Response: 3\n\n### Instruction: go on"}, "answer_not_integer"),
        ({"output": ""}, "missing_answer"),
        ({"output": None}, "missing_answer"),
        ({"output": "Response: NA"}, "missing_answer"),
        ({"output": "."}, "missing_answer"),
        ({"study_id": None}, "missing_study"),
        ({"study_id": "  "}, "missing_study"),
        ({"condition_num": None}, "missing_condition"),
        ({"condition_num": "control"}, "condition_not_integer"),
        ({"input": "no mark"}, "empty_scenario"),
        ({"input": "Demographics: Age: 3"}, "empty_scenario"),
        ({"input": "Demographics: Shoe size: 44\n\nScenario: Is it?"}, "unreadable_persona"),
        ({"input": "Demographics: " + "\n" * 60_000}, "empty_scenario"),
    ],
)
def test_an_unusable_line_is_kept_with_its_reason_and_number(tmp_path, changed, reason):
    found = cleaned(jsonl(tmp_path, line(), "", line(**changed)))
    assert found.rejects.select("file", "row", "reason").rows() == [("rows.jsonl", 3, reason)]
    assert found.responses.height == 1


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (line()[:-9], "line 2 is not a JSON object"),
        ("[1, 2]", "line 2 is a JSON array"),
        ("7", "line 2 is not a JSON object"),
        ("[" * 100_000, "line 2 is a JSON array"),
        ('{"input": ' * 100_000, "line 2 is not a JSON object"),
        (line(input="\ud800"), "line 2 holds half a character"),
        (line(input="a" * 2_000_000), "line 2 has 2,000,"),
        (line().replace('"output"', '"input"'), "line 2 has no 'output'"),
    ],
)
def test_a_broken_line_is_named(tmp_path, broken, message):
    with pytest.raises(DataError, match=f"rows.jsonl: {message}"):
        responses(jsonl(tmp_path, line(), broken))


def test_a_folder_of_parquet_is_one_table_without_prompt_and_reasoning(tmp_path):
    rows = survey(4)
    (tmp_path / "deep").mkdir()
    rows.head(7).with_columns(prompt=pl.lit("p"), reasoning=pl.lit("r")).write_parquet(tmp_path / "b.parquet")
    rows.tail(17).write_parquet(tmp_path / "deep/a.parquet")
    assert list(open_local(tmp_path).about["files"]) == ["b.parquet", "deep/a.parquet"]
    assert responses(tmp_path).equals(rows)


def test_mappings_beside_the_parquet_are_found(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "metadata").mkdir()
    survey(3).write_parquet(tmp_path / "data/train-0.parquet")
    (tmp_path / "metadata/participant_mapping.json").write_text("{}")
    for path in (tmp_path, tmp_path / "data", tmp_path / "data/train-0.parquet"):
        assert list(open_local(path).mappings) == ["participant_mapping.json"]


@pytest.mark.parametrize("keep", [0, 3, 0.5, 0.99, "task_num"])
def test_parquet_cut_short_or_without_a_column_is_named(tmp_path, keep):
    path, message = tmp_path / "rows.parquet", "not a readable parquet file"
    survey(3).write_parquet(path)
    if keep == "task_num":
        survey(3).drop(keep).write_parquet(path)
        message = "column task_num missing; found study_id"
    else:
        content = path.read_bytes()
        path.write_bytes(content[: int(keep if keep > 1 else keep * len(content))])
    with pytest.raises(DataError, match=f"rows.parquet: {message}"):
        responses(path)


CSV = """"","study_id","condition_num","scenario","response","participant","Sex","age","Pet"
"1","soups",0,"Is it warm, or hot? Only return 1 or 2.",2,"R_b","Female",44,"cat"
"2","soups",0,"He said ""so"". Only return 1 or 2.",1,"R_b","Female",44,NA
"3","soups",1,"Is it warm, or hot? Only return 1 or 2.",NA,"R_a",NA,NA,NA
"""


@pytest.mark.parametrize("separator", [",", ";"])  # of R's write.csv and write.csv2
def test_csv_as_r_writes_it_is_read(separator, tmp_path):
    (tmp_path / "rows.csv").write_text(CSV.replace(",", separator).replace(f"{separator} or", ", or"))
    found = cleaned(tmp_path / "rows.csv")
    assert found.rejects.select("row", "reason").rows() == [(3, "missing_answer")]
    assert found.unknown_demographics == {"Pet": 1}
    columns = found.responses.select("participant", "task_num", "response", pl.col("stimuli").str.head(12))
    assert columns.rows() == [(2, 0, 1, 'He said "so"'), (2, 1, 2, "Is it warm, ")]
    persona = found.responses["demographic"].struct.unnest()
    assert persona.select("gender", "age").unique().rows() == [("Female", "44")]


def test_csv_without_personas_with_numbers_of_its_own_and_other_columns_is_read(tmp_path):
    path, head = tmp_path / "rows.csv", "study_id,condition_num,scenario,response"
    path.write_text(f"{head}\na,0,Is it? Only return 1.,1\na ,0,Is it? Only return 1.,1\n")
    assert responses(path)["sample_id"].to_list() == [0, 1]  # one study, whatever the space behind its name
    path.write_text(f"{head},task_num\na,0,Is it? Only return 1.,1,5\n")
    assert responses(path)["task_num"].to_list() == [0]
    path.write_text(f"{head},Participant,age,date\na,0,Is it? Only return 1.,1,9,,May\na,0,So?,1,9,30,May\n")
    found = responses(path)
    assert found["participant"].to_list() == [1, 1]
    assert found["demographic"].struct.field("age").to_list() == [None, "30"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CSV.replace("scenario", "text"), "column scenario missing; found study_id"),
        (CSV.replace("Pet", "gender"), "not readable as CSV"),
        ("", "not readable as CSV"),
    ],
)
def test_csv_that_cannot_be_used_is_one_line(content, message, tmp_path):
    (tmp_path / "rows.csv").write_text(content)
    with pytest.raises(DataError, match=f"rows.csv: {message}") as refused:
        responses(tmp_path / "rows.csv")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["nowhere.parquet", "rows.xlsx", "empty"])
def test_a_path_that_is_no_source_is_named(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "rows.xlsx").write_text("x")
    with pytest.raises(SourceError, match=rf"{name}.*data\.path"):
        open_local(tmp_path / name)


@pytest.mark.skipif(not VAL.is_file(), reason="the shared data folder is not here")
def test_every_real_row_of_the_seed_project_is_understood():
    found = cleaned(VAL)
    assert found.rejected == {}
    assert found.unknown_demographics == {}
    assert found.responses.height == 2_780
    assert found.responses["study_id"].n_unique() == 20
    assert found.responses["demographic"].struct.field("age").null_count() == 0
    assert found.responses.group_by("study_id").agg(pl.col("task_num").n_unique())["task_num"].median() < 10
