"""Is a run what the paper did? Its parameters and records against the table of ``paper.py``, item by item.

A value is looked up, not believed: what a stage has not written, or has written for other parameters, is
*not compared*, and nothing that was not compared is ever called the same.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from socrates.core.files import read_json
from socrates.core.params import flat, parse, read_yaml
from socrates.model.params import BUILTIN
from socrates.reporting.markdown import markdown_table
from socrates.tools.paper import OF_THESE, PAPER, PEOPLE, RECORDS, Item

VERDICTS = ("same", "different on purpose", "wrong", "not compared")


@dataclass(frozen=True)
class Run:
    """What is known of a run."""

    values: Mapping[str, Any]  # by dotted path: params.lora.r, splits.splits.test.rows ...
    absent: Mapping[str, str]  # the first name of a path -> why there are no values below it, as a sentence

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


def read_records(folder: Path, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The records by name, and why others are absent: there is no file, or it or one before is of other params."""
    records, absent, stale = {}, {}, ""
    for name, path in RECORDS.items():
        record = read_json(folder / path) if (folder / path).exists() else None
        if record and (changed := _changes(name, record, dict(flat(params)))):
            stale = f"{path} was made with other params ({changed}): run dvc repro"
        if stale:
            absent[name] = stale
        elif record is None:
            absent[name] = f"there is no {path}: run dvc repro, or dvc pull"
        else:
            records[name] = record
    return records, absent


def _changes(name: str, record: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """How the parameters that a record was written with differ from those of now; empty where they do not."""
    then: dict[str, Any] = {}
    if name == "raw":
        keys = {"source": "source", "revision": "revision", "world": "synthetic"}
        then = {"data": {"source": None} | {key: record[its] for its, key in keys.items() if its in record}}
    elif name in ("sample", "splits"):
        section = name.removesuffix("s")
        then = {section: record.get(section) or {}}
    elif name == "base":
        then = {"model": {"name": record.get("name", BUILTIN), "revision": record.get("revision")}}
    elif name == "training":
        then = record.get("params", {})
    pairs = [(key, value) for key, value in flat(then) if value != now.get(key)]
    changed = [f"{key} {shown(value)}, now {shown(now.get(key))}" for key, value in pairs]
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


def audit(folder: Path) -> list[dict[str, str]]:
    """Every item of the table: what the paper has, what is here, the verdict, and why it is that."""
    sections = parse(read_yaml(folder / "params.yaml"))
    params = {name: section.model_dump() for name, section in sections.items()}
    records, absent = read_records(folder, params)
    derived = _derived(params, records)
    for name in ("raw", "splits", "training"):
        if (folder / RECORDS[name]).exists():
            derived[name] = OF_THESE if name in records else absent[name]
    run, rows = Run(dict(flat({"params": params, "derived": derived, **records})), absent), []
    for item in PAPER:
        here, verdict = "–", "not compared"
        try:
            value = run.find(item.here)
            ends = [run.find(item.here + end) for end in ("_low", "_high")] if item.interval else []
            here = shown(value) + (f" ({shown(ends[0])} to {shown(ends[1])})" if ends else "")
            verdict, reason = _verdict(item, run, value, ends)
        except KeyError as missing:
            reason = missing.args[0]
        row = {"item": item.item, "paper": shown(item.paper), "here": here}
        rows.append({**row, "verdict": verdict, "reason": reason, "source": item.source})
    return rows


def _verdict(item: Item, run: Run, value: Any, ends: list[float]) -> tuple[str, str]:
    """The verdict on a value that was found, and its reason."""
    paper: Any = item.paper
    if not all(run.meets(path, wanted) for path, wanted in item.only_for.items()):
        return "not compared", run.fill(item.otherwise)
    if item.note:
        return "different on purpose", item.note
    if not all(isinstance(x, int | float) and not isinstance(x, bool) for x in (paper, value)):
        same = value == paper
    else:
        same = ends[0] <= paper <= ends[1] if ends else abs(value - paper) <= item.tolerance + 1e-12
    if same:
        return "same", "the paper's value lies in the interval" if ends else ""
    for path, wanted, why in item.reasons:
        if run.meets(path, wanted):
            return "different on purpose", run.fill(why)
    return "wrong", f"differs from the paper, and no parameter says why ({item.here})"


def shown(value: Any) -> str:
    """A value as the table has it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def counts(rows: list[dict[str, str]]) -> dict[str, int]:
    """Items per verdict."""
    return {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in VERDICTS}


def markdown(rows: list[dict[str, str]]) -> str:
    """The audit as a table, the wrong items first; the line above it never claims more than was compared."""
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts(rows).items())
    head = ("item", "paper", "here", "verdict", "reason")
    wrong = [row | {"verdict": "**wrong**"} for row in rows if row["verdict"] == "wrong"]
    ordered = [*wrong, *(row for row in rows if row["verdict"] != "wrong")]
    table = markdown_table(head, [[row[name] for name in head] for row in ordered])
    return f"Audit against the paper: {told}.\n\n{table}"
