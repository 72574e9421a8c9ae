"""Is a run what the paper did? Its parameters and records against a specification, item by item.

The specification is ``docs/paper.yaml``. A value is looked up, not believed: what a stage has not
written, or has written for other parameters, is *not compared*, and nothing that was not compared is
ever called the same.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from socrates.core.errors import DataError
from socrates.core.params import parse, read_yaml
from socrates.reporting.read import read_json

Verdict = Literal["same", "different on purpose", "wrong", "not compared"]
VERDICTS: tuple[Verdict, ...] = ("same", "different on purpose", "wrong", "not compared")
UNKNOWN = "unknown"
OWN = "(own check)"
ABSENT = "there is no "

SPECIFICATION = Path("docs/paper.yaml")
PARAMS = Path("params.yaml")
# Where each record lies. A stage's record says what the stage did, with which parameters.
RECORDS = {
    "raw": Path("data/raw/manifest.json"),
    "splits": Path("data/splits/manifest.json"),
    "training": Path("models/adapter/training.json"),
    "metrics": Path("metrics/evaluate.json"),
}
TRAINER = Path("socrates/training/sft.py")  # its arguments hold what is fixed and not a parameter

Scalar = str | int | float | bool | None
Condition = dict[str, Scalar | dict[Literal["below", "above"], float]]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Reason(_Strict):
    """Why a value may differ: ``why`` holds if every entry of ``when`` does."""

    when: Condition = Field(default_factory=dict)
    why: str


class Item(_Strict):
    """One entry of the specification; docs/paper.yaml explains the fields."""

    item: str
    paper: Scalar
    source: str
    here: str | None = None
    tolerance: float = 0.0
    interval: tuple[str, str] | None = None
    only_if: Condition = Field(default_factory=dict)
    otherwise: str = "the comparison would mean nothing"
    another_kind: str | None = None
    reasons: tuple[Reason, ...] = ()
    not_compared: str | None = None

    @model_validator(mode="after")
    def _looked_up(self) -> Item:
        if (self.here is None) == (self.not_compared is None):
            raise ValueError("needs either here or not_compared")
        return self


class Specification(_Strict):
    """What the paper did, with where each value was read."""

    source: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Finding:
    """One row of the audit: what the paper has, what is here, and why the verdict is what it is."""

    item: str
    paper: str
    here: str
    verdict: Verdict
    reason: str
    source: str


@dataclass(frozen=True)
class Facts:
    """What is known of a run.

    Attributes:
        known: the top-level names of docs/paper.yaml's paths (params, raw, splits ...) -> their values.
        absent: name -> why there is nothing, as a sentence.
    """

    known: Mapping[str, Any]
    absent: Mapping[str, str]

    def find(self, path: str) -> Any:
        """The value at a dotted path. Raises ``KeyError`` with the reason where there is none."""
        root = path.split(".", maxsplit=1)[0]
        if root in self.absent:
            raise KeyError(self.absent[root])
        value: Any = self.known
        for part in path.split("."):
            if not isinstance(value, Mapping) or part not in value:
                raise KeyError(f"{path} is not recorded")
            value = value[part]
        if value is None and root == "metrics":
            raise KeyError(f"{path} is not defined for this run")
        return value

    def holds(self, condition: Condition) -> bool:
        """Whether every part of a condition is known to be true."""
        return all(self._holds(path, wanted) for path, wanted in condition.items())

    def _holds(self, path: str, wanted: Any) -> bool:
        try:
            value = self.find(path)
        except KeyError:
            return False
        if not isinstance(wanted, dict):
            return bool(value == wanted)
        return value is not None and all(
            value < bound if side == "below" else value > bound for side, bound in wanted.items()
        )

    def fill(self, text: str) -> str:
        """``text`` with ``{params.lora.r}`` replaced by its value."""
        for piece in text.split("{")[1:]:
            path = piece.split("}")[0]
            text = text.replace(f"{{{path}}}", shown(self.find(path)))
        return text


def read_specification(path: Path = SPECIFICATION) -> Specification:
    """The specification in ``path``.

    Raises:
        ParamsError, DataError: the file is missing, not YAML, or has an entry that cannot be used.
    """
    try:
        return Specification.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: {place}: {first['msg'].removeprefix('Value error, ')}") from None


def read_facts(folder: Path = Path()) -> Facts:
    """What the run in a project folder is known to be.

    A record that is missing, or that was written for other parameters than params.yaml has now, is
    absent, and so is all that follows from it.

    Raises:
        ParamsError: params.yaml cannot be used.
        DataError: a record is not JSON.
    """
    params_path = folder / PARAMS
    params = {name: section.model_dump() for name, section in parse(read_yaml(params_path)).items()}
    known: dict[str, Any] = {"params": params, "code": _fixed(folder / TRAINER)}
    absent: dict[str, str] = {}
    for name, path in RECORDS.items():
        if (folder / path).exists():
            known[name] = read_json(folder / path)
        else:
            absent[name] = f"{ABSENT}{path}: run dvc repro, or dvc pull"
    stale = ""
    for name, path in RECORDS.items():
        changed = _made_with(name, known.get(name, {}), params)
        if changed:
            stale = f"{path} was made with other params ({changed}): run dvc repro"
        if stale:
            known.pop(name, None)
            absent[name] = stale
    known["derived"] = _derived(known)
    return Facts(known, absent)


def audit(specification: Specification, facts: Facts) -> list[Finding]:
    """Every item of the specification with its verdict, then whether the records are of these params."""
    return [_judge(item, facts) for item in specification.items] + _of_these_params(facts)


def _judge(item: Item, facts: Facts) -> Finding:
    def finding(verdict: Verdict, reason: str, here: str = "–") -> Finding:
        return Finding(item.item, shown(item.paper), here, verdict, reason, item.source)

    if item.not_compared is not None:
        return finding("not compared", item.not_compared)
    assert item.here is not None
    try:
        value = facts.find(item.here)
        ends = [facts.find(path) for path in item.interval or ()]
    except KeyError as missing:
        return finding("not compared", missing.args[0])
    here = shown(value) + (f" ({shown(ends[0])} to {shown(ends[1])})" if ends else "")
    return finding(*_verdict(item, facts, value, ends), here)


def _verdict(item: Item, facts: Facts, value: Any, ends: list[float]) -> tuple[Verdict, str]:
    """The verdict on a value that was found, and its reason."""
    if not facts.holds(item.only_if):
        return "not compared", facts.fill(item.otherwise)
    if item.paper == UNKNOWN:
        return "not compared", item.source
    if item.another_kind is not None:
        return "different on purpose", item.another_kind
    if _same(item, value, ends):
        return "same", "the paper's value lies in the interval" if ends else ""
    for reason in item.reasons:
        if facts.holds(reason.when):
            return "different on purpose", facts.fill(reason.why)
    return "wrong", f"differs from the paper, and no parameter says why ({item.here})"


def _same(item: Item, value: Any, ends: list[float]) -> bool:
    numbers = [isinstance(x, int | float) and not isinstance(x, bool) for x in (item.paper, value)]
    if not all(numbers):
        return bool(value == item.paper)
    if ends:
        return bool(ends[0] <= item.paper <= ends[1])  # type: ignore[operator]
    return bool(abs(value - item.paper) <= item.tolerance + 1e-12)  # type: ignore[operator]


def _of_these_params(facts: Facts) -> list[Finding]:
    """Whether the records that exist belong to params.yaml: figures of another run prove nothing."""
    rows = []
    for name in ("raw", "splits", "training"):
        reason = facts.absent.get(name, "" if name in facts.known else f"{ABSENT}{RECORDS[name]}")
        verdict: Verdict = "not compared" if reason.startswith(ABSENT) else "wrong" if reason else "same"
        here = {"same": "it is", "wrong": "it is not", "not compared": "–"}[verdict]
        rows.append(Finding(f"{RECORDS[name]} is of params.yaml", OWN, here, verdict, reason, "this project"))
    # evaluate writes no params: what it counted must at least be what the split set apart
    item = Item(
        item="answers of the test split, scored or counted as excluded",
        paper=facts.known.get("splits", {}).get("splits", {}).get("test", {}).get("rows"),
        source="this project",
        here="derived.answers_accounted_for",
    )
    return [*rows, _judge(item, facts)]


def _made_with(name: str, record: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """How the parameters a record was written with differ from those of now; empty where they do not."""
    data = params["data"]
    if name == "raw" and record:
        pairs = {"data.source": (record.get("source"), data["source"])}
        if "world" in record:
            pairs["data.synthetic"] = (record["world"], data["synthetic"])
        elif "revision" in record:
            pairs["data.revision"] = (record["revision"], data["revision"])
    elif name == "splits" and record:
        pairs = {"split": (record.get("split"), params["split"])}
    elif name == "training" and record:
        pairs = {
            f"{section}.{key}": (value, params.get(section, {}).get(key))
            for section, values in record.get("params", {}).items()
            for key, value in values.items()
        }
    else:
        return ""
    changed = [f"{key} {shown(then)}, now {shown(now)}" for key, (then, now) in pairs.items() if then != now]
    return "; ".join(changed[:3]) + (f"; and {len(changed) - 3} more" if len(changed) > 3 else "")


def _fixed(path: Path) -> dict[str, Scalar]:
    """The constants among the arguments that the trainer is made with, read from its source."""
    if not path.exists():
        return {}
    found: dict[str, Scalar] = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith("Config"):
            found |= {
                word.arg: word.value.value  # type: ignore[misc]
                for word in node.keywords
                if word.arg and isinstance(word.value, ast.Constant)
            }
    if found.get("optim") == "adamw_torch":  # PyTorch's AdamW under the name transformers has for it
        found["optim"] = "adamw"
    return found


def _derived(known: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from the records and no single one says."""
    found: dict[str, Any] = {
        "quantization": {"none": "not quantised"}.get(known["params"]["model"]["quantization"], "NF4, 4 bits")
    }
    training, parts = known.get("training", {}), known.get("splits", {}).get("splits", {})
    if "trainable_parameters" in training:
        found["trained"] = f"{training['trainable_parameters']:,} of an adapter"
    if "rows" in training and "rows" in parts.get("train", {}):
        found["passes"] = training["rows"] / parts["train"]["rows"]
    counted = known.get("metrics", {}).get("counts", {})
    if "answers" in counted and parts:
        lost = counted.get("answers_excluded", {}).get("adapter", {})
        found["answers_accounted_for"] = counted["answers"] + sum(lost.values())
    names = [study for part in parts.values() for study in part.get("study_ids", [])]
    if names:
        found["studies_in_two_splits"] = len(names) - len(set(names))
        found["seen_studies"] = sum(parts[name]["studies"] for name in ("train", "val") if name in parts)
    return found


def shown(value: Any) -> str:
    """A value as the table has it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def counts(findings: list[Finding]) -> dict[str, int]:
    """Items per verdict."""
    return {verdict: sum(found.verdict == verdict for found in findings) for verdict in VERDICTS}


def summary(findings: list[Finding]) -> str:
    """One line: so many of each verdict, and never more than was compared."""
    return ", ".join(f"{count} {verdict}" for verdict, count in counts(findings).items())


def markdown(findings: list[Finding]) -> str:
    """The audit as a table for a pull request, the wrong items first."""

    def cell(text: str) -> str:
        return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")

    order = sorted(findings, key=lambda found: found.verdict != "wrong")
    rows = [
        f"| {cell(f.item)} | {cell(f.paper)} | {cell(f.here)} | {_strong(f.verdict)} | {cell(f.reason)} |"
        for f in order
    ]
    head = ["| item | paper | here | verdict | reason |", "|---|---|---|---|---|"]
    return "\n".join([f"Audit against the paper: {summary(findings)}.", "", *head, *rows]) + "\n"


def _strong(verdict: Verdict) -> str:
    return f"**{verdict}**" if verdict == "wrong" else verdict
