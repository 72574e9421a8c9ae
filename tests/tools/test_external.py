"""Another model's predictions: read as they are meant, or refused with their row."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from socrates.core.errors import DataError
from socrates.core.files import write_table
from socrates.survey.tables import PREDICTIONS, SCALED_RESPONSES
from socrates.tools.external import import_table
from tests.survey_rows import params_in, row, table

HEAD = "study_id,condition_num,task_num,option,probability\n"
GOOD = HEAD + "a,0,0,1,0.25\na,0,0,3,0.75\na,1,0,2,1\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A project whose test split has six people in two cells on a scale of 1 to 3."""
    monkeypatch.chdir(tmp_path)
    params_in(tmp_path)
    rows = table([row("a", n, response=1 + n % 3) for n in range(6)])
    scaled = rows.with_columns(scale=pl.lit("1..3"), scale_rule=pl.lit("range")).select(*SCALED_RESPONSES)
    (tmp_path / "data/splits").mkdir(parents=True)
    write_table(tmp_path / "data/splits/test.parquet", scaled)
    return tmp_path


def imported(here: Path, text: str, name: str = "other") -> pl.DataFrame:
    (here / "in.csv").write_text(text)
    folder, rows = import_table(Path("in.csv"), name)
    predictions = pl.read_parquet(folder / "predictions.parquet")
    assert predictions.height == rows and predictions.schema == pl.Schema(PREDICTIONS)
    return predictions.sort("sample_id")


def test_a_cell_s_distribution_holds_for_its_people(here):
    shares = imported(here, GOOD)["probabilities"].to_list()
    assert shares == [[0.25, 0, 0.75], [0, 1, 0]] * 3


def test_drawn_answers_are_shares_and_a_respondent_can_have_their_own(here):
    lines = [f"a,{n % 2},0,{n},{answer}" for n in range(6) for answer in (1, 1, 1 + n % 3)]
    predictions = imported(here, "study_id,condition_num,task_num,participant,response\n" + "\n".join(lines))
    np.testing.assert_allclose(predictions["probabilities"].to_list()[1], [2 / 3, 1 / 3, 0], rtol=1e-6)
    assert predictions["probabilities"].to_list()[0] == [1, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("option", "answer"), "column option missing"),
        (GOOD.replace("0.25", "a lot"), "row 1: probability is empty or no number"),
        (GOOD.replace("0.25", "-0.25"), "row 1: probability is negative"),
        (GOOD.replace("0.25", "0.5"), "row 1: the probabilities of its options do not sum to 1 .2 such rows"),
        (GOOD + "a,1,0,2,1\n", "row 3: its option stands there twice"),
        (GOOD.replace("a,1,0,2,1\n", ""), "no prediction for study_id a condition_num 1 task_num 0"),
        (GOOD.replace("a,1,0,2,1", "a,1,0,7,1"), "task_num 0: option 7 is not on its scale 1..3"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_its_row(here, text, message):
    with pytest.raises(DataError, match=message):
        imported(here, text)
    assert not (here / "data/predictions").exists()


def test_a_column_of_lists_is_one_line(here):
    keys = {"condition_num": [1], "task_num": [1], "response": [1]}
    pl.DataFrame({"study_id": [["a"]], **keys}).write_parquet(here / "lists.parquet")
    with pytest.raises(DataError, match=r"lists.parquet: a column is neither text nor a number"):
        import_table(here / "lists.parquet", "gpt")


@pytest.mark.parametrize("name", ["adapter", "words", "../x", "A b"])
def test_a_name_of_the_pipeline_or_of_no_folder_is_refused(here, name):
    with pytest.raises(DataError, match="--name"):
        imported(here, GOOD, name)
