"""The model card: what the hub shows of a run, from the files that the run left.

Markdown with the YAML front matter that Hugging Face reads.
"""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from socrates.core.files import atomic_folder
from socrates.core.params import flat
from socrates.evaluation.metrics import METRICS
from socrates.reporting.page import templates
from socrates.reporting.read import Report
from socrates.reporting.sections import Figure, content
from socrates.runs.log import Line, read_lines
from socrates.survey.prompts import prompt

EXAMPLE = (
    "A town wants a new tram line. Is that a good idea? Only return an integer from 1 to 5, nothing else."
)
EXAMPLE_OPTIONS = (1, 2, 3, 4, 5)
EXAMPLE_PERSONA = "Age: 34; Gender: Female"
SHOWN = re.compile("headline|study|effect|curves-1")  # of the plots, in the text
# Figures of the front matter, where the hub lists them.
INDEXED = ("wasserstein", "drawn.wasserstein", "stated.wasserstein", "drawn.accuracy", "effects.r")


@dataclass(frozen=True)
class Choices:
    """What a card says that no file of the run tells.

    Attributes:
        adapter: where the loading snippet finds the adapter: a folder, or a repository of the hub.
        license: an identifier of the hub, or ``other``.
        license_name: with ``other``.
    """

    adapter: str = "models/adapter"
    license: str = "other"
    license_name: str = "not-decided"


@dataclass(frozen=True)
class Usage:
    """What a training took, over all attempts, the lost steps included.

    Attributes:
        device: its own name.
        processes: that trained, one per GPU.
        hours: that the machine was held by the training.
        usd: as logged; None where no price was set.
    """

    device: str
    processes: int
    hours: float
    usd: float | None


def usage(lines: Iterable[Line], steps: int | None) -> Usage | None:
    """Device, hours and dollars from a training's log.

    None without a log, or where the log's last run did not end at ``steps``: it is another one's then.
    """
    lines = list(lines)
    lines = [line for line in lines if line.get("fingerprint") == lines[-1].get("fingerprint")]
    machines = [line for line in lines if line["event"] == "machine"]
    if not machines or max(line.get("step", 0) for line in lines) != steps:
        return None
    seconds = sum(
        line["time"] - before["time"]
        for before, line in itertools.pairwise(lines)
        if line["event"] != "start"
    )
    last = machines[-1]
    return Usage(last["device"], int(last["processes"]), seconds / 3600, lines[-1]["usd"] or None)


def render_card(report: Report, found: dict[str, Any], lines: Iterable[Line], choices: Choices) -> str:
    """The card's text.

    Args:
        found: from :func:`socrates.reporting.sections.content`.
        lines: of the training's log; may be empty.
    """
    params = report.training.get("params", report.params)
    text = templates(html=False, package="socrates.tools").get_template("card.md.j2")
    return text.render(
        found
        | {
            "front_matter": _yaml(front_matter(report, choices)),
            "choices": choices,
            "usage": usage(lines, report.training.get("steps")),
            "trained": {name: dict(flat(part)) for name, part in params.items() if isinstance(part, dict)},
            "parts": report.splits.get("splits", {}),
            "split": report.splits.get("split", {}),
            "plots": [name for name in sorted(plots(found)) if SHOWN.search(name)],
            "snippet": snippet(report, choices),
        }
    )


def front_matter(report: Report, choices: Choices) -> dict[str, Any]:
    """The metadata that the hub reads; keys are its own."""
    hub = report.base.get("kind") == "hub"
    matter: dict[str, Any] = {"library_name": "peft", "pipeline_tag": "text-generation", "language": ["en"]}
    if hub:
        matter |= {"base_model": report.base["name"], "base_model_relation": "adapter"}
    matter["license"] = choices.license
    if choices.license == "other":
        matter["license_name"] = choices.license_name
    dataset = {"type": "synthetic", "name": "synthetic survey world"}
    if report.raw.get("source") == "hub":
        data = report.params["data"]
        matter["datasets"] = [data["repo"]]
        dataset = {"type": data["repo"], "name": data["repo"], "revision": data["revision"]}
    elif report.raw.get("source") == "local":
        dataset = {"type": "local", "name": "local survey answers"}
    matter["tags"] = ["lora", "qlora", "survey-prediction", "computational-social-science"]
    metrics = [
        {"type": key, "name": METRICS[key].label, "value": round(found.value, 4)}
        for key in INDEXED
        if (found := report.estimate("adapter", key)).value is not None
    ]
    task = {"type": "text-generation", "name": "distribution of survey answers, unseen studies"}
    name = choices.adapter.rstrip("/").split("/")[-1]
    matter["model-index"] = [
        {"name": name, "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}
    ]
    return matter


def plots(found: dict[str, Any]) -> dict[str, Figure]:
    """The figures by file name, from the content of a page; none of them shows the text of a question."""
    figures = {"headline": found["headline_figure"], "reliability": found["reliability"]}
    for name in ("study_figures", "effect_figures", "group_figures", "curves"):
        for number, figure in enumerate(found[name], start=1):
            figures[f"{name.removesuffix('_figures')}-{number}"] = figure
    return {f"plots/{name}.svg": figure for name, figure in figures.items()}


def write_card(folder: Path, project: Path, report: Report, choices: Choices) -> list[str]:
    """Write README.md and plots/ to ``folder``, replacing it; returns the names of the files.

    Args:
        project: the folder with ``runs/``.
    """
    lines, found = read_lines(project / "runs/train.jsonl"), content(report)
    files = {"README.md": render_card(report, found, lines, choices)}
    files |= {name: figure.svg for name, figure in plots(found).items()}
    with atomic_folder(folder) as partial:
        for name, text in files.items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_text(text, encoding="utf-8")
    return sorted(files)


def snippet(report: Report, choices: Choices) -> str:
    """Python that loads base and adapter and prints the probability of each answer to an example."""
    model = report.training.get("params", report.params)["model"]
    layout = report.training.get("params", report.params)["prompt"]["layout"]
    hub = report.base.get("kind") == "hub"
    return (
        templates(html=False, package="socrates.tools")
        .get_template("snippet.py.j2")
        .render(
            base=json.dumps(report.base["name"] if hub else "models/base"),
            revision=json.dumps(report.base["revision"]) if hub else "None",
            adapter=json.dumps(choices.adapter),
            nf4=model["quantization"] == "nf4",
            double=bool(model["double_quantization"]),
            prompt=json.dumps(prompt(EXAMPLE, EXAMPLE_PERSONA, layout), ensure_ascii=False),
            options=EXAMPLE_OPTIONS,
        )
    )


def _yaml(value: dict[str, Any]) -> str:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 4096
    stream = io.StringIO()
    yaml.dump(value, stream)
    return stream.getvalue()
