"""Every command that README.md or docs/ shows works, or is held to be right in a way that is declared here.

Commands are the lines of ``bash``, ``sh`` and ``console`` blocks and the inline code that starts with one of
``INLINE``. What is quick is run. What needs a GPU, the hub, a store or minutes is checked: its make target,
module, stage, option or parameter must exist. A command that no rule knows fails.
"""

import ast
import importlib.util
import itertools
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
from ruamel.yaml import YAML
from typer.testing import CliRunner

from gsm8k import __main__ as gsm8k
from socrates.cli.__main__ import app
from socrates.core import params
from socrates.tools.preset import PIPELINES, apply
from tests import model_folders

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(?:bash|sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = ("make", "socrates", "dvc", "python", "pip", "git", "aws", "rclone", "torchrun", "curl")
SPAN = re.compile(rf"`((?:{'|'.join(INLINE)}) [^`\n]+)`")
SETTING = re.compile(r"[A-Z][A-Z0-9_]*=.*")
RUN = {"audit", "estimate", "predict"}  # commands of socrates that answer at once


def shown(path: Path) -> list[tuple[str, str]]:
    """The commands of a page in its order, each with its place."""
    text = path.read_text(encoding="utf-8")
    found = [(match.start(1), line) for match in BLOCK.finditer(text) for line in lines(match[1])]
    prose = BLOCK.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    found += [(match.start(), match[1]) for match in SPAN.finditer(prose)]
    return [(f"{path.name}:{text.count(chr(10), 0, start) + 1}", command) for start, command in sorted(found)]


def lines(block: str) -> list[str]:
    """The commands of a block: joined at backslashes; of a console session those after ``$``."""
    whole = block.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in whole):
        whole = [line[2:] for line in whole if line.startswith("$ ")]
    return [line.strip() for line in whole if line.strip() and not line.lstrip().startswith("#")]


def parts(command: str) -> list[list[str]]:
    """The words of each command of a line, without settings such as ``NAME=1`` in front."""
    commands: list[list[str]] = [[]]
    for word in shlex.split(command, comments=True):
        if word in ("&&", ";", "|", "&"):
            commands.append([])
        elif commands[-1] or not SETTING.fullmatch(word):
            commands[-1].append(word)
    return [words for words in commands if words]


# The rules: each takes the words after the program, and fails where the command would.


def make(words: list[str], scratch: Path) -> None:
    text = (ROOT / "Makefile").read_text()
    targets = {word for word in words if "=" not in word and not word.startswith("-")}
    unknown = targets - set(re.findall(r"^([\w-]+):", text, re.MULTILINE))
    assert targets and not unknown, f"no make target {unknown}"
    settings = dict(word.split("=", 1) for word in words if "=" in word)
    assert all(f"$({name})" in text for name in settings), f"the Makefile reads no {settings}"
    if targets == {"preset"}:
        pipeline, _, name = settings["NAME"].rpartition("/")
        shutil.copyfile(ROOT / pipeline / "params.yaml", scratch / "params.yaml")
        apply(name, scratch / "params.yaml", ROOT / pipeline / "presets", PIPELINES[pipeline])


def python(words: list[str], scratch: Path) -> None:
    if words[:1] != ["-m"]:
        assert (ROOT / words[0]).exists() or words[0] == "--version", f"no file {words[0]}"
    elif words[1] == "socrates":
        socrates(words[2:], scratch)
    elif words[1] == "gsm8k":
        typer.main.get_command(gsm8k.app).make_context(words[1], words[2:])
    else:
        run_module(words[1], words[2:])


def run_module(module: str, rest: list[str]) -> None:
    spec = importlib.util.find_spec(module)
    if spec and spec.submodule_search_locations:  # a package runs its __main__
        spec = importlib.util.find_spec(f"{module}.__main__")
    assert spec and spec.origin, f"no module {module}"
    if Path(spec.origin).is_relative_to(ROOT):
        source = Path(spec.origin).read_text()
        options = [word.split("=")[0] for word in rest if word.startswith("--")]
        unknown = [option for option in options if f'"{option}"' not in source]
        assert not unknown, f"{module} has no option {unknown}"
        takes = any(name in source for name in ("argv", "argparse", "arguments("))
        assert takes or not rest, f"{module} takes no arguments"
        assert "__main__" in source or spec.origin.endswith("__main__.py"), f"{module} cannot be run"


def socrates(words: list[str], scratch: Path) -> None:
    group = typer.main.get_command(app)
    if not words:
        return
    name, rest = words[0], words[1:]
    if name.startswith("--"):  # --install-completion would change the home folder
        root = group.make_context("socrates", [], resilient_parsing=True)
        assert any(name in option.opts for option in group.get_params(root)), f"no option {name}"
        return
    assert name in group.commands, f"no command {name}"
    for word in rest:
        assert not word.startswith("examples/") or (ROOT / word).exists(), f"no file {word}"
    if "--help" in rest:
        return
    group.commands[name].make_context(name, list(rest))  # refuses options and values that it has not
    if name == "predict":  # of a tiny model: the default may not be built yet
        model_folders.make(scratch)
        os.chdir(scratch)  # the test's monkeypatch goes back
    if name in RUN:
        # The folder may hold a run of other params; .ci/run audits strictly what it has just built.
        done = CliRunner().invoke(app, [word for word in words if word != "--strict"])
        assert done.exit_code == 0, done.output or done.exception


def dvc(words: list[str], scratch: Path) -> None:
    from dvc.cli import main, parse_args

    given = parse_args(words)
    if words[0] == "remote":
        os.chdir(scratch)  # the test's monkeypatch goes back
        commands = [words] if Path(".dvc").exists() else [["init", "--no-scm", "-q"], words]
        if words[1] == "modify":
            commands.insert(-1, ["remote", "add", words[2], "s3://bucket/folder"])
        for command in commands:
            assert main(command) == 0, command
    for target in getattr(given, "targets", None) or []:
        file, _, stage = str(target).rpartition(":")
        if target.endswith("dvc.yaml"):
            assert (ROOT / target).exists(), f"no pipeline {target}"
        elif words[0] in ("repro", "exp"):
            stages = YAML(typ="safe").load((ROOT / (file or "dvc.yaml")).read_text())["stages"]
            assert stage.split("@")[0] in stages, f"no stage {target}"
    raw = params.read_yaml(ROOT / "params.yaml")
    for override in getattr(given, "set_param", None) or []:
        key, value = override.split("=", 1)
        section = raw
        for part in key.lstrip("+~").split(".")[:-1]:
            section = section[part]
        section[key.split(".")[-1]] = YAML(typ="safe").load(value.split(",")[0])  # a queue's first value
    params.parse(raw)


def git(words: list[str], scratch: Path) -> None:
    known = subprocess.run(["git", "--list-cmds=main"], capture_output=True, text=True, check=True).stdout
    assert words[0] in known.split(), f"git has no {words[0]}"


def curl(words: list[str], scratch: Path) -> None:
    address = next(word for word in words if word.startswith("http"))
    path = re.fullmatch(r"http://127\.0\.0\.1:\d+(/[\w/-]*)?", address)
    assert path, f"{address}: examples ask this machine only"
    served = "\n".join(file.read_text() for file in sorted((ROOT / "socrates").rglob("serv*.py")))
    assert f'"{path[1] or "/"}"' in served, f"serve has no {path[1]}"


def other(words: list[str], scratch: Path) -> None:
    """Another program's, which needs an account, a machine or the network: what it names of the project is there."""
    for flag, name in itertools.pairwise(words):
        assert flag not in ("-m", "--module") or importlib.util.find_spec(name), f"no module {name}"
        assert flag != "-r" or (ROOT / name).exists(), f"no file {name}"


OURS = {rule.__name__: rule for rule in (make, socrates, python, dvc, git, curl)}
OTHERS = ("torchrun", "deepspeed", "srun", "pip", "cd", "export", "mkdir", "source", "cp", "aws", "ssh")
RULES = OURS | dict.fromkeys((*OTHERS, "nvidia-smi", "docker", "rclone"), other)


def check(command: str, scratch: Path) -> None:
    """Fail where a command would. Raises ``AssertionError`` or what the command's own parser raises."""
    for words in parts(command):
        assert words[0] in RULES, f"no rule for {words[0]!r}: add one to tests/cli/test_docs_commands.py"
        RULES[words[0]](words[1:], scratch)


COMMANDS = [command for page in PAGES for command in shown(page)]


@pytest.mark.parametrize(("place", "command"), COMMANDS, ids=lambda text: text[:60])
def test_every_command_of_the_pages_is_right(place, command, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    check(command, tmp_path)


def test_the_pages_show_commands_as_a_reader_sees_them():
    pages = {place.split(":")[0] for place, _ in COMMANDS}
    assert pages >= {"README.md", "remotes.md", "performance.md"}
    block = "```bash\nA=1 make \\\n  repro # all\n# only words\n```\n"
    page = f"text `dvc repro` and `a.py`\n{block}```yaml\nmake: no\n```\n```console\n$ make help\nhelp\n```\n"
    texts = [line for match in BLOCK.finditer(page) for line in lines(match[1])]
    assert texts == ["A=1 make    repro # all", "make help"]
    assert SPAN.findall(page) == ["dvc repro"] and parts(texts[0]) == [["make", "repro"]]


@pytest.mark.parametrize(
    "command",
    [
        "make repros",
        "make preset NAME=none-such",
        "python -m socrates.evaluation.compete",
        "python -m benchmarks.random_kills --kilts 100",
        "socrates audit --stricter",
        "python -m socrates experiment examples/none.yaml",
        "dvc repro training",
        "dvc exp run -S lora.rank=32",
        "dvc metrics dif main",
        "dvc remote add -d",
        "pip install -r requirements-none.txt",
        "curl http://example.org/predict",
        "rm -rf data",
        "python none.py && make help",
    ],
)
def test_a_command_that_has_rotted_fails(command, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises((Exception, SystemExit)):
        check(command, tmp_path)


def test_every_module_that_can_be_run_says_how_in_its_docstring():
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        tree = ast.parse(path.read_text())
        if '__name__ == "__main__"' in path.read_text():
            assert f"python -m benchmarks.{path.stem}" in (ast.get_docstring(tree) or ""), path
