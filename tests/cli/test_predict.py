"""``python -m socrates predict``: what it prints and writes, and one clear line for what it cannot do."""

import json
import shlex
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner, Result

from socrates.app import model as asking
from socrates.app.parse import parse_question
from socrates.cli.__main__ import app
from socrates.core.errors import DataError, ModelError, SocratesError
from socrates.prediction.distributions import ScoringPlan
from tests import model_folders, tiny

QUESTION = ["--demographics", "Age: 30; Gender: Female", "--scenario", tiny.SCENARIOS[1]]


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, ["predict", *arguments])
    if isinstance(result.exception, SocratesError):
        raise result.exception
    return result


def run_json(*arguments: str) -> dict:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def batch_of(here: Path, name: str = "rows.csv") -> Path:
    rows = [
        ("001", "Female", "30", tiny.SCENARIOS[2], None),
        ("002", None, "40", "Is it warm?", "1-5"),
        ("003", "Male", "50", "Is it cold?", None),
        ("004", "Other", "60", "", "1-5"),
        ("005", "Male", "70", tiny.SCENARIOS[1], None),
    ]
    table = pl.DataFrame(rows, ["id", "Gender", "age", "scenario", "scale"], orient="row")
    write = {".csv": table.write_csv, ".jsonl": table.write_ndjson, ".parquet": table.write_parquet}
    write[Path(name).suffix](here / name)
    return here / name


def test_one_question_prints_bars_interval_and_where_it_ran(here):
    output = run(*QUESTION, "--sample", "5").stdout
    assert "models/adapter on models/base, float32 on the CPU" in output
    assert "Age: 30; Gender: Female" in output
    drawn = "5 drawn at temperature 0.6, top-p 0.9"
    assert all(text in output for text in ("expected answer", "middle 80 %", "format validity", drawn))
    assert output.count("█") > 7


def test_json_holds_the_same_and_nothing_else_is_on_standard_output(here):
    result = run_json(*QUESTION, "--sample", "4", "--compare-base", "--seed", "3")
    assert sum(result["adapter"]["probabilities"]) == pytest.approx(1, abs=1e-4)
    assert result["adapter"]["probabilities"] != result["base"]["probabilities"]
    assert len(result["samples"]["answers"]) == 4
    assert (result["scale_rule"], result["outside_training"]) == ("range", [])
    assert run_json(*QUESTION, "--adapter", "none")["base"] == result["base"]


def test_an_unknown_field_is_accepted_and_flagged(here):
    result = run_json("--demographics", "Age: 30; Favourite tram: 7", "--scenario", tiny.SCENARIOS[1])
    assert result["persona"] == "Age: 30; Favourite tram: 7"
    assert result["outside_training"] == ["Favourite tram: not a field of the training data"]


def test_without_the_training_table_the_answer_says_that_nothing_was_compared(here):
    (here / "data/splits/train.parquet").unlink()
    assert "not at hand" in " ".join(run_json(*QUESTION)["notes"])


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.parquet"])
def test_a_file_comes_back_whole_in_its_order(here, name):
    output = here / f"answers{Path(name).suffix}"
    counts = run_json("--input", str(batch_of(here, name)), "--output", str(output))
    read = {".csv": pl.read_csv, ".jsonl": pl.read_ndjson, ".parquet": pl.read_parquet}[output.suffix]
    table = read(output, **({"schema_overrides": {"id": pl.String}} if read is pl.read_csv else {}))
    assert table["id"].to_list() == ["001", "002", "003", "004", "005"]
    assert [problem is None for problem in table["problem"]] == [True, True, False, False, True]
    assert table["scale"].to_list() == ["0..100", "1..5", None, None, "1..7"]
    assert (counts["rows"], counts["answered"]) == (5, 3)
    assert "understood no answer scale" in counts["first_problem"]
    assert table["expected"].null_count() == 2
    assert {"middle_80_low", "format_validity"} <= set(table.columns)
    assert not list((here / ".scratch/answers").iterdir())
    alone = run_json("--demographics", "Age: 30; Gender: Female", "--scenario", tiny.SCENARIOS[2])
    assert table["expected"][0] == pytest.approx(alone["adapter"]["expected"], abs=1e-3)


def test_a_killed_file_goes_on(here, monkeypatch):
    arguments = ("--input", str(batch_of(here)), "--output", str(here / "answers.csv"))
    compute, calls = ScoringPlan.score, []

    def once(self, *given):
        calls.append(given)
        if len(calls) == 2:
            raise ModelError("killed")
        return compute(self, *given)

    monkeypatch.setattr(ScoringPlan, "score", once)
    with pytest.raises(ModelError, match="killed"):
        run(*arguments)
    assert not (here / "answers.csv").exists()
    assert run_json(*arguments)["answered"] == 3 and len(calls) == 4  # the first shard was done


def test_a_file_tells_what_personas_were_read_from_and_what_was_not_read(here):
    text = "Sex,party,age,flavour,scenario\nMale,Democrat,NA,sweet,Is it? Only return 1 or 2.\n"
    (here / "rows.csv").write_text(text)
    told = run_json("--input", "rows.csv", "--output", "out.csv")["persona"]
    assert told == "persona from gender, party_id; columns not read: flavour"


def test_a_label_outside_the_scale_is_named():
    text = "Do you agree? Only return an integer from 1 to 5, where 1 means no and 7 means yes."
    assert parse_question(text).notes == ("the label of 7 lies outside 1..5",)


@pytest.mark.parametrize(("name", "content", "message"), [
    ("rows.csv", "", "is empty"),
    ("rows.csv", "scenario\n", "holds a header and no rows"),
    ("rows.csv", "text\nhello\n", r"no column scenario; found text"),
    ("rows.csv", "scenario,expected\na,b\n", r"column expected is what the answers are called"),
    ("rows.csv", 'scenario\n"a",b,c\n', r"more fields than the header; put quotes"),
    ("rows.csv", "scenario;age\na, b, c;3\n", r"separated by semicolons; save it with commas"),
    ("rows.csv", '"scenario";"age"\n"a";3\n', r"separated by semicolons; save it with commas"),  # R's write.csv2
    ("rows.csv", "scenario\tage\na\t3\n", r"separated by tabs; save it with commas"),
    ("rows.csv", 'scenario\n"torn\n', r"the quotes around a text do not match"),
    ("rows.csv", 'scenario,demographics\nIs it? 1 or 2.,"Shoe size: 4"\n', r"no field of Shoe size is known"),
    ("rows.csv", "scenario,age,age\na,3,4\n", r"two columns are called age; rename one"),
    ("rows.csv", "scenario, Scenario\na,b\n", r"two columns are read as scenario; rename one"),
    ("rows.csv", "scenario,stimuli\na,b\n", r"two columns are read as scenario; rename one"),
    ("rows.csv", "scenario\nIs it warm?\n", r"none of 1 rows can be asked; the first: .*--scale 1-7"),
    ("a.jsonl", b'{"scenario": 1', "line 1 is not JSON"),
    ("a.jsonl", b'{"scenario": "a"}\n\n{oops\n', "line 3 is not JSON .*; mend or remove it"),
    ("a.jsonl", b'[{"scenario": "a"}]\n', "line 1 is not a JSON object"),
    ("a.jsonl", b"[" * 100_000, "line 1 is not JSON"),
    ("a.jsonl", b"\n", "is empty"),
    ("a.jsonl", b'{"scenario": ["a"]}\n', "column scenario holds lists or objects"),
    ("a.jsonl", b'{"scenario": "a", "age": {"years": 3}}\n', "column age holds lists or objects"),
    ("a.parquet", b"no", "not readable as parquet"),
    ("a.csv", b"\xff\xfe\x00scenario", "is not UTF-8"),
    ("a.csv", "scenario,age\na,1\n".encode("utf-16"), "is not UTF-8"),
])  # fmt: skip
def test_a_file_that_cannot_be_used_is_one_line(here, name, content, message):
    (here / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=f"^{name}: .*{message}"):
        run("--input", name, "--output", "out.csv")


@pytest.mark.parametrize(("value", "kind"), [(b"\xff", "Binary"), (timedelta(1), "Duration")])
def test_bytes_and_durations_are_refused_before_the_model_is_asked(here, value, kind):
    pl.DataFrame({"scenario": [tiny.SCENARIOS[1]], "x": [value]}).write_parquet(here / "a.parquet")
    with pytest.raises(DataError, match=f"column x is {kind}"):
        run("--input", "a.parquet", "--output", "out.csv")


@pytest.mark.parametrize("name", ["rows.csv", "rows.CSV", "rows.jsonl"])
def test_files_of_other_programs_are_read(here, name):
    """A byte order mark, CRLF, capitals and spaces in a header, columns with names of our own, whole floats."""
    asked = f"One\n{tiny.SCENARIOS[1]}"
    rows = [("a", "x", asked, 30.0), ("a", "y", asked, None)]
    rows = pl.DataFrame(rows, ["ID", "position", " Scenario ", "AGE"], orient="row")
    text = rows.write_csv(line_terminator="\r\n") if name.lower().endswith("csv") else rows.write_ndjson()
    (here / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert run_json("--input", name, "--output", "out.csv")["answered"] == 2
    table = pl.read_csv(here / "out.csv")
    assert table["ID"].to_list() == ["a", "a"] and table["position"].to_list() == ["x", "y"]
    alone = run_json("--demographics", "Age: 30", "--scenario", asked)
    assert table["expected"][0] == pytest.approx(alone["adapter"]["expected"], abs=1e-3)


@pytest.mark.parametrize(("source", "output", "message"), [
    ("rows.csv", "rows.csv", "holds the questions"),
    ("rows.csv", "sub/../rows.csv", "holds the questions"),
    ("rows.csv", "sub.csv", "is a folder"),
    ("rows.csv", "file/out.csv", "cannot be written"),
    ("rows.csv", "/proc/none/out.csv", "cannot be written"),
    ("rows.csv", "out.xlsx", r"expected \.csv"),
    ("nowhere.csv", "out.csv", "no such file"),
])  # fmt: skip
def test_files_that_cannot_be_are_refused_before_the_model_is_asked(
    here, source, output, message, monkeypatch
):
    rows = batch_of(here)
    before = rows.read_bytes()
    (here / "sub").mkdir()
    (here / "sub.csv").mkdir()
    (here / "file").touch()
    monkeypatch.setattr(asking, "open_model", None)
    with pytest.raises(DataError, match=message):
        run("--input", source, "--output", output)
    assert rows.read_bytes() == before


def test_a_scenario_of_ten_megabytes_costs_its_row_alone(here):
    rows = pl.DataFrame({"scenario": ["word " * 2_000_000 + tiny.SCENARIOS[1], tiny.SCENARIOS[1]]})
    rows.write_csv(here / "rows.csv")
    counts = run_json("--input", "rows.csv", "--output", "out.csv")
    assert counts["answered"] == 1 and "characters" in counts["first_problem"]


@pytest.mark.parametrize(("arguments", "message"), [
    (["--scenario", "a\udcff " + tiny.SCENARIOS[1]], "scenario: holds what is no UTF-8 text"),
    ([*QUESTION[2:], "--demographics", "Age: \udcff"], "demographics: holds what is no UTF-8 text"),
    ([*QUESTION, "--scale", "1-99999999999999999999"], "more than 12 digits"),
    ([*QUESTION, "--scale", "1,2,99999999999999999999"], "more than 12 digits"),
    ([*QUESTION, "--scale", "7-1"], "the first number is the lowest"),
    (["--scenario", ""], "scenario: is empty"),
])  # fmt: skip
def test_a_question_that_cannot_be_read_is_one_line(here, arguments, message):
    with pytest.raises(DataError, match=message) as refused:
        run(*arguments)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("arguments", "message"), [
    ([*QUESTION, "--sample", "1000000000"], "--sample"),
    ([*QUESTION, "--sample", "2", "--seed", "-1"], "--seed"),
    ([], "give one of --scenario"),
    (["--scenario", "x", "--example", "1"], "give one of --scenario"),
    (["--input", "rows.csv"], "--input and --output go together"),
    (["--input", "rows.csv", "--output", "a.csv", "--sample", "2"], "are for one question"),
    (["--example", "99"], "there are"),
    (["--example", "1", "--adapter", "none", "--compare-base"], "needs an adapter"),
    (["--example", "1", "--precision", "int4"], "--precision"),
])  # fmt: skip
def test_a_wrong_option_is_status_2(here, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(("arguments", "status", "message"), [
    (["predict", "--scenario", "Is it warm?", "--scale", "1-7"], 1, "models/base: no such folder"),
    (["predict", "--sample", "-1"], 2, "'--sample'"),
    (["predicts"], 2, "No such command 'predicts'"),
])  # fmt: skip
def test_what_is_wrong_is_one_line_and_a_status(tmp_path, arguments, status, message):
    command, environment = model_folders.cli(*arguments, folder=tmp_path)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr


@pytest.mark.parametrize("name", typer.main.get_command(app).commands)
def test_every_command_takes_json_and_its_help_has_an_example_that_is_right(name):
    commands = typer.main.get_command(app).commands
    assert any("--json" in option.opts for option in commands[name].params)
    shown = [line.strip() for line in commands[name].epilog.splitlines() if line.startswith("  ")]
    assert shown
    for line in shown:
        words = shlex.split(line, comments=True)
        assert words[:2] == ["socrates", name] or name == "merge"
        commands[words[1]].make_context(words[1], words[2:])


@pytest.mark.parametrize(("words", "expected"), [
    ("socrates pre", "predict preset"), ("socrates predict --sc", "--scenario --scale"),
])  # fmt: skip
def test_tab_completes_commands_and_options(tmp_path, words, expected):
    command, environment = model_folders.cli(folder=tmp_path)
    typed = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_SOCRATES_COMPLETE": "complete_bash"}
    done = subprocess.run(command, env=environment | typed, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (expected.split(), "")


def test_help_imports_nothing_heavy():
    heavy = {"torch", "polars", "numpy", "starlette", "pydantic"}
    code = f"import sys, socrates.cli.__main__; sys.exit(not {heavy}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=tiny.ROOT, check=False).returncode == 0


def test_the_checkouts_own_model_says_that_it_learned_from_a_made_world(here):
    note = "The model learned from a made world"
    assert not any(said.startswith(note) for said in run_json("--example", "1")["notes"])
    shutil.copy(tiny.ROOT / "params.yaml", here / "params.yaml")
    assert run_json("--example", "1")["notes"][0].startswith(note)
