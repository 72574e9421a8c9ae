"""Local sources: the Alpaca form is understood as a person would, and bad files are named."""

import json

import polars as pl
import pytest

from socrates.core.errors import DataError, SourceError
from socrates.data.sources.clean import clean
from socrates.data.sources.local import open_local, question, read_alpaca
from tests.shared import SHARED
from tests.survey_rows import survey

VAL = SHARED / "data/socsci210/val.jsonl"


def anything(table):
    return pl.Series([True] * table.height, dtype=pl.Boolean)


def line(**changed):
    return json.dumps(
        {
            "instruction": "Say what this person answers.",
            "input": "Demographics: Age: 51; Gender: Male\n\nScenario: You tasted two soups "
            "and then were asked: 'Which was warmer?' Only return 1 for 'First' or 2 for 'Second'.",
            "output": "Response: 2",
            "study_id": "soups",
            "condition_num": 1,
        }
        | changed
    )


def jsonl(folder, *lines):
    path = folder / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def responses(path):
    return clean(open_local(path).tables, anything).responses


def test_an_alpaca_line_becomes_a_response(tmp_path):
    (found,) = responses(jsonl(tmp_path, line())).to_dicts()
    persona = {field: value for field, value in found.pop("demographic").items() if value is not None}
    assert persona == {"age": "51", "gender": "Male"}
    assert found == {
        "study_id": "soups",
        "sample_id": 0,
        "participant": 0,
        "condition_num": 1,
        "task_num": 0,
        "stimuli": "You tasted two soups and then were asked: 'Which was warmer?' "
        "Only return 1 for 'First' or 2 for 'Second'.",
        "response": 2,
    }


def test_tasks_are_the_distinct_questions_of_a_study(tmp_path):
    def scenario(read, asked):
        return f"Demographics: Age: 40\n\nScenario: You read '{read}' and then were asked: {asked}"

    warm, safe = "'How warm is it?' Only return 1 or 2.", "'Is it safe?' Only return 1 for Yes or 2 for No."
    path = jsonl(
        tmp_path,
        line(input=scenario("a note", safe)),
        line(input=scenario("a letter", warm), condition_num=0),
        line(input=scenario("a letter", safe), condition_num=0),
        line(input=scenario("a note", warm.replace(" ", "\n", 1))),
    )
    found = responses(path).sort("sample_id")
    assert found["task_num"].to_list() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        (
            "Someone asked a friend. You then were asked: \u201cIs tea better? Only return 1 or 2.\u201d",
            "\u201cIs tea better? Only return 1 or 2.\u201d",
        ),
        (
            "A mayor of the U.S. city of Elm spoke. He left! How long was the speech of the U.S. mayor? "
            "Only return an integer from 1 to 4.",
            "How long was the speech of the U.S. mayor? Only return an integer from 1 to 4.",
        ),
        ("Only one sentence", "Only one sentence"),
    ],
)
def test_the_question_is_what_was_asked(scenario, expected):
    assert question(scenario) == expected


def test_scenario_text_may_hold_the_word_itself(tmp_path):
    texts = [
        "Demographics: Age: 3\n\nScenario: First.\n\nScenario: second. Why?",
        "Scenario: alone",
        "no mark",
    ]
    found = read_alpaca(jsonl(tmp_path, *(line(input=text) for text in texts)))
    assert found["stimuli"].to_list() == ["First.\n\nScenario: second. Why?", "alone", None]
    assert found["demographic"].struct.field("age").to_list() == ["3", None, None]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"output": "Response: maybe"}, "answer_not_integer"),
        ({"output": "Response: 2.5"}, "answer_not_integer"),
        ({"output": "Response: 3\n\n### Instruction: go on"}, "answer_not_integer"),
        ({"output": ""}, "missing_answer"),
        ({"output": None}, "missing_answer"),
        ({"study_id": None}, "missing_study"),
        ({"study_id": "  "}, "missing_study"),
        ({"condition_num": None}, "missing_condition"),
        ({"condition_num": "control"}, "condition_not_integer"),
        ({"input": "Demographics: Age: 3"}, "empty_scenario"),
        ({"output": "Response: NA"}, "missing_answer"),
        ({"output": "."}, "missing_answer"),
        (
            {"input": "Demographics: Shoe size: 44\n\nScenario: Is it? Only return 1 or 2."},
            "unreadable_persona",
        ),
        ({"input": "Demographics: " + "\n" * 60_000}, "empty_scenario"),
    ],
)
def test_an_unusable_line_is_kept_with_its_reason_and_number(tmp_path, changed, reason):
    cleaned = clean(open_local(jsonl(tmp_path, line(), "", line(**changed))).tables, anything)
    (reject,) = cleaned.rejects.to_dicts()
    assert reject["reason"] == reason
    assert (reject["file"], reject["row"]) == ("rows.jsonl", 3)
    assert cleaned.responses.height == 1


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
        (
            json.dumps({"input": 'with "output": "in it"', "study_id": "s", "condition_num": 0}),
            "line 2 has no 'output'",
        ),
    ],
)
def test_a_broken_line_is_named(tmp_path, broken, message):
    with pytest.raises(DataError, match=f"rows.jsonl: {message}"):
        read_alpaca(jsonl(tmp_path, line(), broken))


def test_a_folder_of_parquet_is_one_table_without_prompt_and_reasoning(tmp_path):
    rows = survey(4)
    (tmp_path / "deep").mkdir()
    rows.head(7).with_columns(prompt=pl.lit("p"), reasoning=pl.lit("r")).write_parquet(tmp_path / "b.parquet")
    rows.tail(17).write_parquet(tmp_path / "deep/a.parquet")
    source = open_local(tmp_path)
    assert list(source.about["files"]) == ["b.parquet", "deep/a.parquet"]
    assert clean(source.tables, anything).responses.equals(clean([("rows", rows)], anything).responses)


def test_mappings_beside_the_parquet_are_found(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "metadata").mkdir()
    survey(3).write_parquet(tmp_path / "data/train-0.parquet")
    (tmp_path / "metadata/participant_mapping.json").write_text("{}")
    for path in (tmp_path, tmp_path / "data", tmp_path / "data/train-0.parquet"):
        assert list(open_local(path).mappings) == ["participant_mapping.json"]


def test_a_missing_column_names_the_file_and_the_column(tmp_path):
    survey(2).drop("task_num").write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows.parquet: column task_num missing"):
        responses(tmp_path / "rows.parquet")


@pytest.mark.parametrize("keep", [0, 3, 0.5, 0.99])
def test_parquet_cut_short_is_named(tmp_path, keep):
    path = tmp_path / "rows.parquet"
    survey(3).write_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep if keep > 1 else keep * len(content))])
    with pytest.raises(DataError, match=r"rows.parquet: not a readable parquet file"):
        responses(path)


CSV = """"","study_id","condition_num","scenario","response","participant","Sex","age","Pet"
"1","soups",0,"Is it warm, or hot? Only return 1 or 2.",2,"R_b","Female",44,"cat"
"2","soups",0,"He said ""so"". Only return 1 or 2.",1,"R_b","Female",44,NA
"3","soups",1,"Is it warm, or hot? Only return 1 or 2.",NA,"R_a",NA,NA,NA
"""


@pytest.mark.parametrize("separator", [",", ";"])  # of R's write.csv and write.csv2
def test_csv_as_r_writes_it_is_read(separator, tmp_path):
    (tmp_path / "rows.csv").write_text(CSV.replace(",", separator).replace(f"{separator} or", ", or"))
    cleaned = clean(open_local(tmp_path / "rows.csv").tables, anything)
    assert cleaned.rejects.select("row", "reason").rows() == [(3, "missing_answer")]
    assert cleaned.unknown_demographics == {"Pet": 1}
    assert cleaned.responses["stimuli"].str.head(20).to_list() == [
        'He said "so". Only r',
        "Is it warm, or hot? ",
    ]
    assert cleaned.responses.select("participant", "task_num", "response").rows() == [(2, 0, 1), (2, 1, 2)]
    persona = cleaned.responses["demographic"].struct.unnest()
    assert persona.select("gender", "age").unique().rows() == [("Female", "44")]


@pytest.mark.parametrize("between", [";", ", ", "\n", "; "])
def test_labels_of_a_persona_are_read_whatever_stands_between_them(between, tmp_path):
    (row,) = responses(
        jsonl(
            tmp_path,
            line(input=f"Demographics: Age: 51{between}Gender: Male\n\nScenario: Is it? Only return 1."),
        )
    ).to_dicts()
    assert (row["demographic"]["age"], row["demographic"]["gender"]) == ("51", "Male")


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
    cleaned = clean(open_local(VAL).tables, anything)
    assert cleaned.rejected == {}
    assert cleaned.unknown_demographics == {}
    assert cleaned.responses.height == 2_780
    assert cleaned.responses["study_id"].n_unique() == 20
    assert cleaned.responses["demographic"].struct.field("age").null_count() == 0
    assert cleaned.responses.group_by("study_id").agg(pl.col("task_num").n_unique())["task_num"].median() < 10
