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

PARTS = ("train", "val", "test")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def local(here, rows, *stages, **sections):
    """The rows as a local source with the sections of the parameters, and the stages run on it."""
    rows.write_parquet(here / "rows.parquet")
    params_in(here, data={"source": "local", "path": "rows.parquet"}, **sections)
    for stage in stages:
        stage.main()


def splits():
    return {name: pl.read_parquet(f"data/splits/{name}.parquet") for name in PARTS}


def written():
    """Each file that the stages left, and its bytes."""
    return {str(path): path.read_bytes() for path in sorted(Path("data").rglob("*")) if path.is_file()}


def fails(main, capsys):
    """The one line that ``main`` ends in."""
    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and len(error.splitlines()) == 1
    return error


def manifest(folder):
    return json.loads((Path("data") / folder / "manifest.json").read_text())


ALL = (download, sample, split)


def test_the_three_stages_hand_over_every_row(here, capsys):
    rows = survey(21)
    local(here, rows.sample(fraction=1, shuffle=True, seed=1), *ALL)
    assert "126 rows kept, 0 rejected" in capsys.readouterr().out
    parts = [read_table(Path(f"data/splits/{name}.parquet"), SCALED_RESPONSES) for name in PARTS]
    assert [part["study_id"].n_unique() for part in parts] == [17, 2, 2]
    assert sort_rows(pl.concat(parts).select(*RESPONSES)).equals(sort_rows(rows))
    assert pl.concat(parts).select("scale", "scale_rule").unique().rows() == [("1..5", "range")]
    told = manifest("splits")["splits"]
    assert told["test"]["rows"] == 12 and told["test"]["participants"] == 12
    assert told["train"]["study_ids"] == parts[0]["study_id"].unique().sort().to_list()


def test_answers_of_test_studies_reach_the_test_table_alone(here):
    """What training, the base model and the training average read is the same whatever test studies answer."""
    left, unseen = [], []
    for _ in range(2):  # in the second round, all of the first round's test studies answer 5
        answer = pl.when(pl.col("study_id").is_in(unseen)).then(5).otherwise("response").cast(pl.Int64)
        local(here, survey(21).with_columns(response=answer), *ALL, sample={"fraction": 0.9})
        left.append({path: content for path, content in written().items() if "splits" in path})
        unseen = manifest("splits")["splits"]["test"]["study_ids"]
    assert [path for path in left[0] if left[0][path] != left[1][path]] == ["data/splits/test.parquet"]


def test_bytes_do_not_depend_on_row_order_or_on_the_run(here):
    left = []
    for seed in (1, 2):
        local(here, survey(9).sample(fraction=1, shuffle=True, seed=seed), *ALL, sample={"fraction": 0.5})
        left.append({path: content for path, content in written().items() if "raw" not in path})
    assert left[0] == left[1]


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
    local(here, rows, download)
    assert manifest("raw")["rejected"] == {"outside_stated_scale": 1}
    assert Path("data/raw/rejects.csv").read_text().splitlines() == [
        "file,row,study_id,sample_id,answer,reason",
        "rows.parquet,8,s2,7,6,outside_stated_scale",
    ]


def test_too_many_rejects_fail_and_leave_the_folder_as_it_was(here, capsys):
    local(here, survey(3), download)
    before = written()
    rows = [row(sample=n, response=(9, 1)[n % 2]) for n in range(10)]
    local(here, table([*rows, row(sample=10, stimuli="")]))
    error = fails(download.main, capsys)
    assert "empty_scenario 1, outside_stated_scale 5" in error
    assert "data.max_rejected 0.02" in error and "rows.parquet row 1" in error
    assert written() == before


def test_fields_of_the_persona_that_are_not_known_are_told_and_stop_the_run_where_nothing_else_is_given(
    here, capsys
):
    known = pl.struct(Sex=pl.col("demographic").struct.field("gender"), sect=pl.lit("none"))
    local(here, survey(3).with_columns(demographic=known), download)
    assert "download: persona from gender; not understood: sect (18 rows)" in capsys.readouterr().out
    local(here, survey(3).with_columns(demographic=pl.struct(sect=pl.lit("none"))))
    assert "unreadable_persona 18): more than data.max_rejected" in fails(download.main, capsys)


def test_missing_answers_are_counted_and_stop_nothing(here):
    answers = pl.col("response").cast(pl.String).replace("1", "NA")
    local(here, survey(3).with_columns(answers), download)
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
    for name, told in known.items():
        assert pl.read_parquet(f"data/raw/{name}.parquet").equals(told)
    assert manifest("raw")["world"]["studies"] == manifest("raw")["kept"]["studies"]


def test_the_official_split_follows_the_mapping_and_flags_what_resembles_training(here, capsys):
    texts = pl.col("stimuli").str.replace("on sbbbl lay", "on sbbbg lay")  # s0008 reads what s0004 does
    rows = survey(9).with_columns(stimuli=texts)
    local(here, rows, download, sample, split={"method": "official"})
    assert "participant_mapping.json: not there" in fails(split.main, capsys)
    (here / "metadata").mkdir()
    mapping = {"seen": [f"s{n:04d}" for n in (0, 1, 3, 4, 5, 6, 7)], "unseen": ["s0002", "s0008"]}
    (here / "metadata/participant_mapping.json").write_text(json.dumps(mapping))
    local(here, rows, *ALL, split={"method": "official"})
    told = manifest("splits")
    assert told["splits"]["test"]["study_ids"] == mapping["unseen"]
    assert len(told["splits"]["val"]["study_ids"]) == 1
    flagged = splits()["test"].group_by("study_id").agg(pl.col("near_duplicate").all()).sort("study_id")
    assert flagged["near_duplicate"].to_list() == [False, True]
    assert told["overlap"]["near_duplicate_cells"] == 2


def test_studies_of_one_text_cannot_be_split(here, capsys):
    text = "One text for all. Is it good? Only return an integer from 1 to 5."
    local(here, survey(9).with_columns(stimuli=pl.lit(text)), download, sample)
    assert "1 groups that share no scenario text" in fails(split.main, capsys)
    assert not Path("data/splits").exists()


def test_a_sample_thins_no_test_study_and_a_limit_does(here):
    local(here, survey(9, respondents=8), *ALL, sample={"fraction": 0.5})
    rows = splits()
    assert rows["test"].height == 8 * rows["test"]["study_id"].n_unique()
    assert rows["train"].height + rows["val"].height < 8 * 8
    local(here, survey(9, respondents=8), split, split={"test_max_per_cell": 2})
    assert splits()["test"].group_by(CELL).len()["len"].to_list() == [2, 2]


@pytest.mark.parametrize("stage", [download, sample, split])
def test_a_full_disk_leaves_nothing_half_written(here, capsys, monkeypatch, stage):
    local(here, survey(9), *ALL[: ALL.index(stage)])
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
    local(here, table(rows), download, split=split_params)
    for file, units in {"condition": [2, 3, 0, 1], "task": [0, 1]}.items():  # as the dataset's files are
        parts = {"train": units[1:], "eval": units[:1]}
        mapping = {f"s{study:04d}": parts for study in range(9)}
        Path(f"data/raw/{file}_mapping.json").write_text(json.dumps(mapping))
    sample.main()
    split.main()
    parts = splits()
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
    local(here, table(rows), *ALL, split={"by": "conditions"})
    for name, part in splits().items():
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
