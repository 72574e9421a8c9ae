"""The parameter file: what is refused, with which one line, and what a preset may do to it."""

import shutil
import tempfile
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from socrates.core import params
from socrates.core.errors import ParamsError
from socrates.core.params import flat
from socrates.tools.preset import FOLDER, apply, layers
from socrates.training.params import Lora, Train

ROOT = Path(__file__).resolve().parents[2]
PRESETS = sorted(path.stem for path in (ROOT / FOLDER).glob("*.yaml"))
BRANCH = "main"
COMMIT = "0123456789abcdef" * 2 + "01234567"


# The default is the demo preset, which a test below holds: an experiment may stand in the file.
with tempfile.TemporaryDirectory() as _folder:
    shutil.copyfile(ROOT / "params.yaml", f"{_folder}/params.yaml")
    apply("demo", Path(_folder, "params.yaml"), ROOT / FOLDER)
    SHIPPED = Path(_folder, "params.yaml").read_text(encoding="utf-8")


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(SHIPPED, encoding="utf-8")
    return file


def read(text=SHIPPED):
    return YAML(typ="safe").load(text)


def with_values(values):
    """The shipped parameters with values at dotted keys."""
    raw = read()
    for key, value in values.items():
        *sections, last = key.split(".")
        inner = raw
        for section in sections:
            inner = inner[section]
        inner[last] = value
    return raw


def refusal(raw):
    with pytest.raises(ParamsError) as refused:
        params.parse(raw)
    text = str(refused.value)
    assert "\n" not in text and text.startswith("params.yaml: ")
    return text


def test_the_file_is_valid_and_names_every_section_in_order():
    assert list(read()) == list(params.SECTIONS)
    for name, section in params.parse(read()).items():
        given = {key: value for key, value in flat(read()[name]) if key != "alpha"}  # null stands for twice r
        assert given.items() <= dict(flat(section.model_dump())).items()


@pytest.mark.parametrize(
    ("key", "near"),
    [("trian", " (did you mean train?)"), ("train.learning_rte", " (did you mean learning_rate?)"),
     ("model.tiny.layer", " (did you mean layers?)"), ("data.synthetic.zzz", "")],
)  # fmt: skip
def test_an_unknown_key_is_named_with_the_nearest_known_one(key, near):
    assert refusal(with_values({key: 1})) == f"params.yaml: {key}: unknown key{near}"


REFUSED = {
    "train.max_steps": ["150"], "train.learning_rate": ["1e-5", None, 0.0, float("inf")], "train.epochs": [1e12],
    "lora.target_modules": ["q_proj", []], "lora.r": [0], "model.name": [14], "model.tiny": [None],
    "sample.fraction": [0.0, 1.01, float("nan")], "data.synthetic.studies": [7], "prompt.max_length": [1],
    "predict.max_options": [1], "run.backup.stop_seconds": [-1.0], "run.backup.url": [""], "train.seed": [-1],
    "evaluate.seed": [2**32], "evaluate.bootstrap": [10**9],
}  # fmt: skip
VALUES = [(key, value) for key, values in REFUSED.items() for value in values]


@pytest.mark.parametrize(("key", "value"), VALUES)
def test_a_value_of_another_type_or_outside_its_range_is_refused_and_not_converted(key, value):
    text = refusal(with_values({key: value}))
    assert text.startswith(f"params.yaml: {key}")
    assert value is None or f"(got {value!r})" in text
    assert ";" not in text  # one problem, said once


@pytest.mark.parametrize("section", list(params.SECTIONS))
def test_a_missing_section_or_key_is_named(section):
    raw = read()
    key = next(iter(raw[section]))
    del raw[section][key]
    assert refusal(raw) == f"params.yaml: {section}.{key}: is missing"
    del raw[section]
    assert refusal(raw) == f"params.yaml: {section}: section is missing"


@pytest.mark.parametrize("floating", [BRANCH, "v1.0", COMMIT[:12], COMMIT.upper().replace("0", "G"), ""])
def test_a_floating_hub_revision_is_refused_for_data_and_model(floating):
    hub = {"data.source": "hub", "model.name": "someone/a-model"}
    text = refusal(with_values({**hub, "data.revision": floating, "model.revision": floating}))
    assert text.count("full 40-digit commit hash") == 2
    params.parse(with_values({**hub, "data.revision": COMMIT, "model.revision": COMMIT}))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"model.name": "someone/a-model"}, "a hub model needs a revision, a full 40-digit commit hash"),
        ({"model.name": "builtin/large"}, "only built-in model is builtin/tiny-qwen2"),
        (
            {"model.name": "someone/a-model", "model.revision": COMMIT, "model.tokenizer": "folder"},
            "tokenizer is for the built-in model",
        ),
        ({"data.source": "local"}, "source 'local' needs a path"),
        ({"data.path": "input/answers.jsonl"}, "is read with source 'local' only, and source is 'synthetic'"),
        ({"model.tiny.heads": 7}, "hidden_size must be an even multiple of heads"),
        ({"sample.max_per_cell": 5}, "max_per_cell is used only with by: cell"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(values, says):
    assert says in refusal(with_values(values))


def test_all_problems_stand_in_one_line():
    raw = with_values({"sample.fraction": 2.0, "train.learning_rte": 1e-5, "lora.r": "16", "extra": 1})
    del raw["evaluate"]["draws"], raw["deepspeed"]
    text = refusal(raw)
    for problem in ("extra: unknown key", "sample.fraction: ", "train.learning_rte: unknown key", "lora.r: ",
                    "deepspeed: section is missing", "evaluate.draws: is missing"):  # fmt: skip
        assert problem in text
    assert text.count(";") == 5


def test_a_problem_in_another_section_stops_a_stage_too(path):
    path.write_text(SHIPPED.replace("draws: 20", "draws: 0"))
    with pytest.raises(ParamsError, match=r"evaluate\.draws"):
        params.load(Train, path)


# Nine levels of nine aliases each: a kilobyte that is a gigabyte when it is written out.
LEVELS = ["a: &l0 [x]", *(f"b{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10))]
BOMB = "\n".join([*LEVELS, "data: {path: *l9}"]).encode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "not found"),
        (b"train: [", "not valid YAML"),
        (b"train: 2026-02-30", "not valid YAML"),  # a date that no calendar has
        ("# Größe\ntrain: {}".encode("latin-1"), "save it as UTF-8"),
        (b"train: " + b"[" * 50_000, "not valid YAML"),
        (b"- train", "expected sections"),
        (b"", "expected sections"),
        (b"train: 3", "train: "),
        (BOMB, "data.path: input should be a valid string (got ["),
    ],
)
def test_a_file_that_is_not_a_mapping_of_sections_is_one_line(path, content, says):
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ParamsError) as refused:
        params.load(Lora, path)
    text = str(refused.value)
    assert says in text and str(path) in text and "\n" not in text


def test_an_exponent_without_a_point_is_a_number(path):
    path.write_text(SHIPPED.replace("learning_rate: 3.0e-3\n  epochs", "learning_rate: 1e-5\n  epochs"))
    assert params.load(Train, path).learning_rate == 1e-5


def test_alpha_left_out_is_twice_r():
    assert Lora.model_validate({**read()["lora"], "r": 24, "alpha": None}).alpha == 48
    assert Lora.model_validate({**read()["lora"], "alpha": 7}).alpha == 7


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_loads_through_the_typed_parameters(name, path):
    apply(name, path, ROOT / FOLDER)
    loaded = params.read_yaml(path)
    params.parse(loaded, path)
    assert dict(flat(layers(name, ROOT / FOLDER)[-1])).items() <= dict(flat(loaded)).items()


def test_the_file_at_hand_is_the_demo():
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert text == SHIPPED, "a new default belongs in presets/demo.yaml too; `make preset NAME=demo` undoes"


LAYERED = [name for name in PRESETS if len(layers(name, ROOT / FOLDER)) > 1]


@pytest.mark.parametrize("name", ["demo", *LAYERED])
def test_what_was_applied_before_leaves_no_trace(name, path):
    apply(name, path, ROOT / FOLDER)
    alone = path.read_text(encoding="utf-8")
    for other in PRESETS:
        apply(other, path, ROOT / FOLDER)
        apply(name, path, ROOT / FOLDER)
        assert path.read_text(encoding="utf-8") == alone


def test_smoke_shortens_the_experiment_that_stands_there(path):
    apply("one-percent", path, ROOT / FOLDER)
    before = dict(flat(params.read_yaml(path)))
    apply("smoke", path, ROOT / FOLDER)
    after = dict(flat(params.read_yaml(path)))
    assert after["model.name"] == before["model.name"] == "Qwen/Qwen2.5-14B-Instruct"
    assert (after["train.max_steps"], after["lora.r"], after["lora.alpha"]) == (10, 32, 64)


def test_comments_and_lines_stay_where_they_are(path):
    apply("full", path, ROOT / FOLDER)
    old, new = SHIPPED.splitlines(), path.read_text(encoding="utf-8").splitlines()
    for before, after in zip(old, new, strict=True):
        assert before.partition(" # ")[2] == after.partition(" # ")[2]
        assert before.partition(":")[0] == after.partition(":")[0]


def test_only_changes_are_reported_and_none_touches_the_file(path):
    assert "lora.r: 16 -> 32" in apply("smoke", path, ROOT / FOLDER)
    untouched = path.stat().st_mtime_ns
    assert apply("smoke", path, ROOT / FOLDER) == []
    assert path.stat().st_mtime_ns == untouched


@pytest.mark.parametrize(
    ("overlay", "says"),
    [
        ("train: {max_stepz: 10}", "train.max_stepz: unknown key (did you mean max_steps?)"),
        ("lora: {r: '16'}", "lora.r: "),
        ("lora: 3", "lora: "),
        ("lora: [", "not valid YAML"),
        ("- lora", "expected sections"),
        ("extends: mine", "circle"),
        ("extends: nobody", "no preset 'nobody'"),
        ("train: {max_stepz: 1}\nlora: {r: 0}", "(got 0); train.max_stepz: "),
    ],
)
def test_a_preset_that_does_not_fit_is_one_line_and_writes_nothing(overlay, says, path, tmp_path):
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "mine.yaml").write_text(overlay)
    with pytest.raises(ParamsError) as refused:
        apply("mine", path, folder)
    text = str(refused.value)
    assert says in text and "presets" in text and "\n" not in text
    assert path.read_text(encoding="utf-8") == SHIPPED
    assert sorted(file.name for file in tmp_path.iterdir()) == ["params.yaml", "presets"]


@pytest.mark.parametrize("name", ["nosuch", "", "../presets/demo", "demo.yaml"])
def test_an_unknown_preset_lists_the_known_ones(name, path):
    with pytest.raises(ParamsError, match="there are conditions, demo, "):
        apply(name, path, ROOT / FOLDER)
