"""Download, sample and split as their user runs them: what they write, and how they end."""

import errno
import json
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from socrates.core.errors import run
from socrates.core.files import read_table
from socrates.data.studies import iter_study_batches, sort_rows
from socrates.survey.tables import CELL, RESPONSES, SCALED_RESPONSES
from stages import download, sample, split
from tests.survey_rows import params_in, row, survey, table

SCALED = {name: SCALED_RESPONSES[name] for name in ("scale", "scale_rule")}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def local(here, rows, **sections):
    rows.write_parquet(here / "rows.parquet")
    params_in(here, data={"source": "local", "path": "rows.parquet"}, **sections)


def fails(main, capsys):
    """The one line that ``main`` ends in."""
    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and len(error.splitlines()) == 1
    return error


def run_stages():
    for stage in (download, sample, split):
        stage.main()


def manifest(folder):
    return json.loads((Path("data") / folder / "manifest.json").read_text())


def test_the_three_stages_hand_over_every_row(here, capsys):
    rows = survey(21)
    local(here, rows.sample(fraction=1, shuffle=True, seed=1))
    run_stages()
    assert "126 rows kept, 0 rejected" in capsys.readouterr().out
    parts = [read_table(Path(f"data/splits/{name}.parquet"), RESPONSES) for name in ("train", "val", "test")]
    assert [part["study_id"].n_unique() for part in parts] == [17, 2, 2]
    assert sort_rows(pl.concat(parts)).equals(sort_rows(rows))
    scales = [read_table(Path(f"data/splits/{name}.parquet"), SCALED) for name in ("train", "val", "test")]
    assert pl.concat(scales).unique().rows() == [("1..5", "range")]
    told = manifest("splits")["splits"]
    assert told["test"]["rows"] == 12 and told["test"]["participants"] == 12
    assert told["train"]["study_ids"] == parts[0]["study_id"].unique().sort().to_list()


def test_answers_of_test_studies_reach_the_test_table_alone(here):
    """What training, the base model and the training average read is the same whatever test studies answer."""
    written, unseen = [], []
    for _ in range(2):  # in the second round, all of the first round's test studies answer 5
        answer = pl.when(pl.col("study_id").is_in(unseen)).then(5).otherwise("response").cast(pl.Int64)
        local(here, survey(21).with_columns(response=answer), sample={"fraction": 0.9})
        run_stages()
        written.append({path.name: path.read_bytes() for path in Path("data/splits").iterdir()})
        unseen = manifest("splits")["splits"]["test"]["study_ids"]
    assert [name for name in written[0] if written[0][name] != written[1][name]] == ["test.parquet"]


def test_bytes_do_not_depend_on_row_order_or_on_the_run(here):
    written = []
    for seed in (1, 2):
        local(here, survey(9).sample(fraction=1, shuffle=True, seed=seed), sample={"fraction": 0.5})
        run_stages()
        paths = sorted(
            path for path in Path("data").rglob("*") if path.is_file() and path.parent.name != "raw"
        )
        written.append({str(path): path.read_bytes() for path in paths})
    assert written[0] == written[1]


@pytest.mark.parametrize("lies_sorted", [True, False])
def test_parts_of_iter_study_batches_make_up_the_sorted_table(here, lies_sorted):
    rows = survey(7) if lies_sorted else survey(7).sample(fraction=1, shuffle=True, seed=3)
    rows.write_parquet("rows.parquet")
    parts = list(iter_study_batches(Path("rows.parquet"), rows_per_batch=15))
    assert len(parts) > 2
    assert pl.concat(parts).equals(sort_rows(rows))
    assert sum(part["study_id"].n_unique() for part in parts) == 7


def test_rejects_are_written_and_counted(here):
    rows = table([row(f"s{n % 5}", n, response=6 if n == 7 else 1) for n in range(60)])
    local(here, rows)
    download.main()
    assert manifest("raw")["rejected"] == {"outside_stated_scale": 1}
    assert Path("data/raw/rejects.csv").read_text().splitlines() == [
        "file,row,study_id,sample_id,answer,reason",
        "rows.parquet,8,s2,7,6,outside_stated_scale",
    ]


def test_too_many_rejects_fail_and_leave_the_folder_as_it_was(here, capsys):
    local(here, survey(3))
    download.main()
    before = {path: path.read_bytes() for path in Path("data/raw").iterdir()}
    rows = [row(sample=n, response=(9, 1)[n % 2]) for n in range(10)]
    local(here, table([*rows, row(sample=10, stimuli="")]))
    error = fails(download.main, capsys)
    assert "empty_scenario 1, outside_stated_scale 5" in error
    assert "data.max_rejected 0.02" in error and "rows.parquet row 1" in error
    assert {path: path.read_bytes() for path in Path("data/raw").iterdir()} == before


def test_fields_of_the_persona_that_are_not_known_are_told_and_stop_the_run_where_nothing_else_is_given(
    here, capsys
):
    fields = pl.col("demographic").struct
    known = pl.struct(Sex=fields.field("gender"), sect=pl.lit("none"))
    local(here, survey(3).with_columns(demographic=known))
    download.main()
    assert "download: persona from gender; not understood: sect (18 rows)" in capsys.readouterr().out
    local(here, survey(3).with_columns(demographic=pl.struct(sect=pl.lit("none"))))
    assert "unreadable_persona 18): more than data.max_rejected" in fails(download.main, capsys)


def test_missing_answers_are_counted_and_stop_nothing(here):
    answers = pl.col("response").cast(pl.String).replace("1", "NA")
    local(here, survey(3).with_columns(answers))
    download.main()
    assert manifest("raw")["rejected"] == {"missing_answer": (survey(3)["response"] == 1).sum()} != {}


def test_a_file_in_input_that_is_not_read_runs_nothing_again(here, capsys):
    from dvc.cli import main as dvc

    assert dvc(["init", "--no-scm", "-q"]) == 0
    Path(".dvcignore").write_text((Path(__file__).resolve().parents[2] / ".dvcignore").read_text())
    read = ["input/a.jsonl", "input/a.csv", "input/deep/b.parquet", "input/metadata/task_mapping.json"]
    files = [*read, "input/notes.xlsx", "input/.gitignore", "input/deep/x.R"]
    capsys.readouterr()
    assert dvc(["check-ignore", *files]) == 0
    assert capsys.readouterr().out.split() == files[len(read) :]


def test_the_synthetic_world_comes_with_all_that_is_known_of_it(here, monkeypatch):
    truth = pl.DataFrame({"study_id": ["s0000"], "probabilities": [[0.5, 0.5]]})
    known = {"person_truth": truth, "corpus": pl.DataFrame({"text": ["read"]})}
    monkeypatch.setattr(download, "generate", lambda world: (survey(world.studies), known))
    params_in(here, data={"source": "synthetic"})
    download.main()
    for name, written in known.items():
        assert pl.read_parquet(f"data/raw/{name}.parquet").equals(written)
    assert manifest("raw")["world"]["studies"] == manifest("raw")["kept"]["studies"]


def test_the_official_split_follows_the_mapping(here, capsys):
    local(here, survey(6), split={"method": "official"})
    download.main()
    sample.main()
    assert "participant_mapping.json: not there" in fails(split.main, capsys)
    (here / "metadata").mkdir()
    seen = [f"s{n:04d}" for n in (0, 1, 3, 5)]
    (here / "metadata/participant_mapping.json").write_text(
        json.dumps({"seen": seen, "unseen": ["s0002", "s0004"]})
    )
    run_stages()
    told = manifest("splits")["splits"]
    assert told["test"]["study_ids"] == ["s0002", "s0004"]
    assert len(told["val"]["study_ids"]) == 1


ONE_TEXT = "One text for all. Is it good? Only return an integer from 1 to 5."


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (survey(2), "s0000, s0001"),
        (survey(9).with_columns(stimuli=pl.lit(ONE_TEXT)), "1 groups that share no scenario text"),
    ],
)
def test_too_few_groups_of_studies_cannot_be_split(rows, message, here, capsys):
    local(here, rows)
    download.main()
    sample.main()
    assert message in fails(split.main, capsys)
    assert not Path("data/splits").exists()


def test_a_sample_thins_no_test_study_and_a_limit_does(here):
    local(here, survey(9, respondents=8), sample={"fraction": 0.5})
    run_stages()
    rows = {name: pl.read_parquet(f"data/splits/{name}.parquet") for name in ("train", "val", "test")}
    assert rows["test"].height == 8 * rows["test"]["study_id"].n_unique()
    assert rows["train"].height + rows["val"].height < 8 * 8
    local(here, survey(9, respondents=8), split={"test_max_per_cell": 2})
    split.main()
    assert pl.read_parquet("data/splits/test.parquet").group_by(CELL).len()["len"].to_list() == [2, 2]


def test_test_rows_that_resemble_a_training_scenario_are_flagged(here):
    mapping = {"seen": [f"s{n:04d}" for n in range(8)], "unseen": ["s0008"]}
    texts = pl.col("stimuli").str.replace("on sbbbl lay", "on sbbbg lay")
    local(here, survey(9).with_columns(stimuli=texts), split={"method": "official"})
    download.main()
    Path("data/raw/participant_mapping.json").write_text(json.dumps(mapping))
    sample.main()
    split.main()
    assert pl.read_parquet("data/splits/test.parquet")["near_duplicate"].all()
    assert manifest("splits")["overlap"]["near_duplicate_cells"] == 2


@pytest.mark.parametrize("stage", [download, sample, split])
def test_a_full_disk_leaves_nothing_half_written(here, capsys, monkeypatch, stage):
    local(here, survey(9))
    for earlier in (download, sample, split):
        if earlier is stage:
            break
        earlier.main()
    before = sorted(Path("data").rglob("*"))

    def full(*_, **__):
        raise pl.exceptions.ComputeError("parquet: No space left on device (os error 28)")

    def full_too(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    monkeypatch.setattr(pq.ParquetWriter, "write_table", full_too)
    error = fails(stage.main, capsys)
    assert "no space left on device); make room" in error and "data/" in error and ".partial" not in error
    assert sorted(Path("data").rglob("*")) == before


def within_studies(here, **split_params):
    """The splits of studies where eight people answer two questions under one of four conditions.

    Two conditions have one text, and in a third of the studies both questions: leaks where they are held out.
    """
    rows = [
        row(
            f"s{study:04d}", 10 * person + task, participant=person, condition_num=person % 4, task_num=task,
            stimuli=f"Text {min(person % 4, 2)} of {study}. Question {task * (study % 3 > 0)}? "
            "Only return an integer from 1 to 5.",
        )
        for study in range(12) for person in range(8) for task in range(2)
    ]  # fmt: skip
    local(here, table(rows), split=split_params)
    download.main()
    for file, units in {"condition": [2, 3, 0, 1], "task": [0, 1]}.items():  # as the dataset's files are
        parts = {"train": units[1:], "eval": units[:1]}
        mapping = {f"s{study:04d}": parts for study in range(9)}
        Path(f"data/raw/{file}_mapping.json").write_text(json.dumps(mapping))
    for stage in (sample, split):
        stage.main()
    parts = {name: pl.read_parquet(f"data/splits/{name}.parquet") for name in ("train", "val", "test")}
    assert sum(part.height for part in parts.values()) == len(rows)
    return parts


@pytest.mark.parametrize(
    ("by", "unit"), [("conditions", "condition_num"), ("tasks", "task_num"), ("participants", "participant")]
)
def test_conditions_questions_and_people_can_be_held_out(here, by, unit):
    parts = within_studies(here, by=by)
    units = [set(part.select("study_id", unit).iter_rows()) for part in parts.values()]
    assert not (units[0] & units[1] or units[0] & units[2] or units[1] & units[2])
    told = manifest("splits")["overlap"]
    people = parts["test"].select("study_id", "participant").n_unique() if by == "tasks" else 0
    assert told["people_in_training"] == people
    flagged = parts["test"].filter("near_duplicate")
    if by == "participants":
        assert not flagged.height
    else:
        same = parts["train"].select("study_id", "stimuli").unique()
        assert flagged.height == parts["test"].join(same, on=same.columns, how="semi").height > 0
        assert told["near_duplicate_cells"] == flagged.select(CELL).n_unique()


def test_a_scale_that_is_not_stated_is_what_the_people_of_the_same_split_answered(here):
    """Test people's answers must not reach the scale that training rows are given."""
    ages = {condition: 20 + 10 * condition for condition in range(8)}
    rows = [
        row(f"s{study:04d}", person, condition_num=person % 8, response=ages[person % 8] + person // 8,
            stimuli="How old are you? Only return an integer.")
        for study in range(12) for person in range(16)
    ]  # fmt: skip
    local(here, table(rows), split={"by": "conditions"})
    run_stages()
    for name in ("train", "val", "test"):
        part = pl.read_parquet(f"data/splits/{name}.parquet")
        ends = pl.format("{}..{}", pl.col("response").min(), pl.col("response").max()).over("study_id")
        assert (part["scale"] == part.select(ends).to_series()).all(), name


@pytest.mark.parametrize(
    ("by", "unit", "tested"), [("conditions", "condition_num", 2), ("tasks", "task_num", 0)]
)
def test_the_dataset_s_own_conditions_and_questions_are_tested(here, by, unit, tested, capsys):
    parts = within_studies(here, by=by, method="official")
    assert parts["test"].select("study_id", unit).unique().sort("study_id").rows() == [
        (f"s{study:04d}", tested) for study in range(9)
    ]
    assert not {(study, tested) for study in parts["test"]["study_id"]} & set(
        parts["train"].select("study_id", unit).iter_rows()
    )
    Path(f"data/raw/{unit.removesuffix('_num')}_mapping.json").write_text('{"s0001": [1, 2')
    assert "mapping.json" in fails(split.main, capsys)
