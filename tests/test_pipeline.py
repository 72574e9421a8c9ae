"""Both dvc.yaml against the code: every stage depends on all it imports, and on every section it reads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from socrates.params import SECTIONS, WORD_PROBLEMS

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"": SECTIONS, "gsm8k/": WORD_PROBLEMS}  # of the pipelines, with the sections of their params


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
    seen, waiting = set(), [path]
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += imported(file)
    return {file for file in seen if has_code(file)}


def has_code(path: Path) -> bool:
    """Whether a file holds more than a docstring."""
    body = ast.parse(path.read_text()).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


def code_of(folder, stage):
    return {str(file.relative_to(ROOT)) for file in everything_imported(ROOT / f"{folder}stages/{stage}.py")}


@pytest.mark.parametrize(("folder", "stage"), ALL)
def test_deps_cover_every_import_and_name_nothing_else(folder, stage):
    declared = {dep for dep in stages(folder)[stage]["deps"] if dep.endswith(".py")}
    assert declared == code_of(folder, stage)


@pytest.mark.parametrize(("folder", "stage"), ALL)
def test_params_name_every_section_the_stage_reads(folder, stage):
    text = (ROOT / f"{folder}stages/{stage}.py").read_text()
    read = {name for name, cls in FOLDERS[folder].items() if f"load({cls})" in text}
    entries = stages(folder)[stage]["params"]
    keys = entries if not folder else entries[0][f"{folder}params.yaml"]
    assert read <= {key.partition(".")[0] for key in keys} <= set(FOLDERS[folder])


def test_evaluation_and_survey_import_without_torch():
    code = (
        "import sys, stages.evaluate, stages.download, stages.split, gsm8k.stages.evaluate; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_training_does_not_depend_on_what_only_measures():
    assert not any("evaluation" in dep or "reporting" in dep for dep in STAGES["train"]["deps"])
    assert not any("training" in dep for dep in STAGES["predict"]["deps"])


FLOORS = {
    "params": 0,
    "survey": 1,
    "maths": 1,
    "model": 2,
    "training": 3,
    "prediction": 3,
    "evaluation": 3,
    "reporting": 4,
    "use": 4,
}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "socrates").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_a_room_imports_only_from_floors_below(path):
    room = path.relative_to(ROOT / "socrates").parts[0]
    if room not in FLOORS:
        return
    for target in imported(path):
        parts = target.relative_to(ROOT).parts
        if parts[0] == "socrates" and parts[1] in FLOORS and parts[1] != room:
            assert FLOORS[parts[1]] < FLOORS[room], f"{path} imports {target}"
