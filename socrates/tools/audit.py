"""Is a run what the paper did? Its parameters and records against the table of ``paper.py``, item by item.

A value is looked up, not believed: what a stage has not written, or has written for other parameters, is
*not compared*, and nothing that was not compared is ever called the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from socrates.core.files import read_json
from socrates.core.params import flat, parse, read_yaml
from socrates.model.params import BUILTIN
from socrates.reporting.markdown import markdown_table
from socrates.tools.paper import OF_THESE, PAPER, PEOPLE, RECORDS, Item

Verdict = Literal["same", "different on purpose", "wrong", "not compared"]
VERDICTS: tuple[Verdict, ...] = ("same", "different on purpose", "wrong", "not compared")


@dataclass(frozen=True)
class Comparison:
    """One row of the audit: what the paper has, what is here, and why the verdict is what it is."""

    item: str
    paper: str
    here: str
    verdict: Verdict
    reason: str
    source: str


@dataclass(frozen=True)
class Run:
    """What is known of a run.

    Attributes:
        values: by dotted path: params.lora.r, splits.splits.test.rows ...
        absent: the first name of a path -> why there are no values below it, as a sentence.
    """

    values: Mapping[str, Any]
    absent: Mapping[str, str]

    def find(self, path: str) -> Any:
        """The value at a path. Raises ``KeyError`` with the reason where there is none."""
        root, value = path.partition(".")[0], self.values.get(path)
        if path not in self.values or (value is None and root == "metrics"):
            raise KeyError(self.absent.get(root, f"{path} is not recorded"))
        return value

    def meets(self, path: str, wanted: Any) -> bool:
        """Whether the value at a path is known, and is the one wanted or passes the test of it."""
        value = self.values.get(path)
        return path in self.values and bool(wanted(value) if callable(wanted) else value == wanted)

    def fill(self, text: str) -> str:
        """``text`` with ``{params.lora.r}`` replaced by its value."""
        return re.sub(r"\{([\w.]+)\}", lambda match: shown(self.find(match[1])), text)


def read_run(folder: Path = Path()) -> Run:
    """What the run in a project folder is known to be.

    Raises:
        ParamsError: params.yaml cannot be used.
        DataError: a record is not JSON.
    """
    sections = parse(read_yaml(folder / "params.yaml"))
    params = {name: section.model_dump() for name, section in sections.items()}
    records, absent = read_records(folder, params)
    derived = _derived(params, records) | {
        name: OF_THESE if name in records else absent[name]
        for name in ("raw", "splits", "training")
        if (folder / RECORDS[name]).exists()
    }
    return Run(dict(flat({"params": params, "derived": derived, **records})), absent)


def read_records(folder: Path, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The records of these params by name, and of the others why they are absent.

    A record is absent where there is no file, where it was written for other params, and where one before it was.
    """
    records, absent, stale = {}, {}, ""
    for name, path in RECORDS.items():
        record = read_json(folder / path) if (folder / path).exists() else None
        if changed := _changes(name, record or {}, params):
            stale = f"{path} was made with other params ({changed}): run dvc repro"
        if stale:
            absent[name] = stale
        elif record is None:
            absent[name] = f"there is no {path}: run dvc repro, or dvc pull"
        else:
            records[name] = record
    return records, absent


def _changes(name: str, record: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """How the parameters that a record was written with differ from those of now; empty where they do not."""
    then: dict[str, Any] = {}
    if name == "raw" and record:
        then = {"data.source": record.get("source")}
        then |= {"data.revision": record["revision"]} if "revision" in record else {}
        then |= dict(flat(record["world"], "data.synthetic.")) if "world" in record else {}
    elif name in ("sample", "splits"):
        section = name.removesuffix("s")
        then = dict(flat(record.get(section) or {}, f"{section}."))
    elif name == "base" and record:
        then = {"model.name": record.get("name", BUILTIN), "model.revision": record.get("revision")}
    elif name == "training":
        then = dict(flat(record.get("params", {})))
    now = dict(flat(params))
    changed = [
        f"{key} {shown(value)}, now {shown(now.get(key))}"
        for key, value in then.items()
        if value != now.get(key)
    ]
    return "; ".join(changed[:3]) + (f"; and {len(changed) - 3} more" if len(changed) > 3 else "")


def _derived(params: Mapping[str, Any], records: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from the records and no single one says."""
    quantized = params["model"]["quantization"] != "none"
    derived: dict[str, Any] = {"quantization": "NF4, 4 bits" if quantized else "not quantised"}
    training, splits = records.get("training", {}), records.get("splits", {}).get("splits", {})
    counts = records.get("metrics", {}).get("counts", {})
    if "trainable_parameters" in training:
        derived["trained"] = f"{training['trainable_parameters']:,} of an adapter"
    if "rows" in training and "rows" in splits.get("train", {}):
        derived["passes"] = training["rows"] / splits["train"]["rows"]
    if "answers" in counts and splits:
        excluded = counts.get("answers_excluded", {}).get("adapter", {})
        derived["unaccounted_answers"] = splits["test"]["rows"] - counts["answers"] - sum(excluded.values())
    if "respondents_per_cell_median" in counts:
        derived["people"] = min(counts["respondents_per_cell_median"], PEOPLE)
    studies = [study for split in splits.values() for study in split.get("study_ids", [])]
    if studies and params["split"].get("by", "studies") == "studies":
        derived["studies_in_two_splits"] = len(studies) - len(set(studies))
        derived["seen_studies"] = sum(splits[name]["studies"] for name in ("train", "val") if name in splits)
    return derived


def audit(run: Run) -> list[Comparison]:
    """Every item of the table with its verdict."""
    return [_compare(item, run) for item in PAPER]


def _compare(item: Item, run: Run) -> Comparison:
    here: str = "–"
    verdict: Verdict = "not compared"
    try:
        value = run.find(item.here)
        ends = [run.find(item.here + end) for end in ("_low", "_high")] if item.interval else []
        here = shown(value) + (f" ({shown(ends[0])} to {shown(ends[1])})" if ends else "")
        verdict, reason = _verdict(item, run, value, ends)
    except KeyError as missing:
        reason = missing.args[0]
    return Comparison(item.item, shown(item.paper), here, verdict, reason, item.source)


def _verdict(item: Item, run: Run, value: Any, ends: list[float]) -> tuple[Verdict, str]:
    """The verdict on a value that was found, and its reason."""
    if not all(run.meets(path, wanted) for path, wanted in item.only_for.items()):
        return "not compared", run.fill(item.otherwise)
    if item.note:
        return "different on purpose", item.note
    if _same(item, value, ends):
        return "same", "the paper's value lies in the interval" if ends else ""
    for path, wanted, why in item.reasons:
        if run.meets(path, wanted):
            return "different on purpose", run.fill(why)
    return "wrong", f"differs from the paper, and no parameter says why ({item.here})"


def _same(item: Item, value: Any, ends: list[float]) -> bool:
    paper: Any = item.paper
    if not all(isinstance(x, int | float) and not isinstance(x, bool) for x in (paper, value)):
        return bool(value == paper)
    return bool(ends[0] <= paper <= ends[1] if ends else abs(value - paper) <= item.tolerance + 1e-12)


def shown(value: Any) -> str:
    """A value as the table has it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def counts(rows: list[Comparison]) -> dict[str, int]:
    """Items per verdict."""
    return {verdict: sum(row.verdict == verdict for row in rows) for verdict in VERDICTS}


def markdown(rows: list[Comparison]) -> str:
    """The audit as a table, the wrong items first; the line above it never claims more than was compared."""
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts(rows).items())
    cells = [
        (
            row.item,
            row.paper,
            row.here,
            f"**{row.verdict}**" if row.verdict == "wrong" else row.verdict,
            row.reason,
        )
        for row in sorted(rows, key=lambda row: row.verdict != "wrong")
    ]
    return f"Audit against the paper: {told}.\n\n" + markdown_table(
        ("item", "paper", "here", "verdict", "reason"), cells
    )
