"""Both dvc.yaml against the code: every stage depends on all it imports, and on every section it reads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from socrates.core.params import GSM8K_SECTIONS, SECTIONS

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"": SECTIONS, "gsm8k/": GSM8K_SECTIONS}  # of the pipelines, with the sections of their params


def stages(folder):
    return YAML(typ="safe").load((ROOT / folder / "dvc.yaml").read_text())["stages"]


STAGES = stages("")
ALL = [(folder, stage) for folder in FOLDERS for stage in stages(folder)]


def imported(path: Path) -> set[Path]:
    """The project's files that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            place = ROOT / name.replace(".", "/")
            found |= {file for file in (place.with_suffix(".py"), place / "__init__.py") if file.exists()}
    return found


def everything_imported(path: Path) -> set[Path]:
    """The files that a file imports, and those that they import, if they hold more than a docstring."""
    seen, waiting = set(), [path]
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += imported(file)
    return {file for file in seen if len(ast.parse(file.read_text()).body) > 1}


@pytest.mark.parametrize(("folder", "stage"), ALL)
def test_every_import_of_a_stage_lies_in_a_declared_folder_or_in_runs(folder, stage):
    deps = {ROOT / dep for dep in stages(folder)[stage]["deps"]}
    files = everything_imported(ROOT / f"{folder}stages/{stage}.py")
    free = {file for file in files if ROOT / "socrates/runs" in file.parents}
    assert {file for file in files - free if not deps & {file, *file.parents}} == set()
    code = {dep for dep in deps if dep.suffix == ".py" or dep.relative_to(ROOT).parts[0] == "socrates"}
    assert {dep for dep in code if not any(dep in {file, *file.parents} for file in files)} == set()


@pytest.mark.parametrize(("folder", "stage"), ALL)
def test_params_name_every_section_the_stage_reads(folder, stage):
    text = (ROOT / f"{folder}stages/{stage}.py").read_text()
    read = {name for name in FOLDERS[folder] if f"load({name.capitalize()})" in text}
    entries = stages(folder)[stage]["params"]
    keys = entries if not folder else entries[0][f"{folder}params.yaml"]
    # How a run is watched and stored shapes no result: a change of it runs nothing again.
    assert read - {"run"} <= {key.partition(".")[0] for key in keys} <= set(FOLDERS[folder]) - {"run"}


def test_evaluation_and_survey_import_without_torch():
    code = (
        "import sys, stages.evaluate, stages.download, stages.split, gsm8k.stages.evaluate; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_training_does_not_depend_on_what_only_measures():
    assert not any("evaluation" in dep or "reporting" in dep for dep in STAGES["train"]["deps"])
    assert not any("training" in dep for dep in STAGES["predict"]["deps"])


# Each room imports from those above it only.
ROOMS = [
    {"core"},
    {"survey"},
    {"data", "model"},
    {"runs", "tiny_model"},
    {"training", "prediction", "evaluation"},
    {"baselines", "reporting"},
    {"app", "tools"},
    {"cli"},
]
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}


@pytest.mark.parametrize("room", sorted(FLOOR))
def test_a_room_imports_only_from_rooms_below_it(room):
    for path in (ROOT / "socrates" / room).rglob("*.py"):
        for target in imported(path) - {ROOT / "socrates/__init__.py"}:
            top, other, *_ = target.relative_to(ROOT).parts
            assert top == "socrates", f"{path} imports {target}"
            assert other == room or FLOOR[other] < FLOOR[room], f"{path} imports {target}"


def test_every_folder_of_the_library_is_a_room():
    assert {path.parent.name for path in (ROOT / "socrates").glob("*/__init__.py")} == set(FLOOR)


def test_the_artifact_of_the_registry_is_what_train_writes():
    artifact = YAML(typ="safe").load(ROOT / "dvc.yaml")["artifacts"]["adapter"]
    assert artifact["path"] in STAGES["train"]["outs"] and artifact["type"] == "model"
