"""The model card: what the hub shows of a run, from the files that the run left.

The Markdown report, with the YAML front matter that Hugging Face reads, how to load the adapter, its cost and licences.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from socrates.core.errors import DataError
from socrates.core.files import atomic_folder
from socrates.evaluation.metrics import METRICS
from socrates.reporting.jinja import templates
from socrates.reporting.read import Report
from socrates.reporting.sections import content
from socrates.runs.log import Line, read_lines
from socrates.survey.prompts import template

EXAMPLE = (
    "A town wants a new tram line. Is that a good idea? Only return an integer from 1 to 5, nothing else."
)
EXAMPLE_OPTIONS = (1, 2, 3, 4, 5)
EXAMPLE_PERSONA = "Age: 34; Gender: Female"
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


def usage(lines: Iterable[Line], steps: int | None) -> dict[str, Any] | None:
    """What a training took by its log, over all attempts: device, processes, hours, dollars (None without a price).

    None without a log, or where the log's last run did not end at ``steps``: it is another one's then.
    """
    lines = list(lines)
    lines = [line for line in lines if line.get("fingerprint") == lines[-1].get("fingerprint")]
    machines = [line for line in lines if line["event"] == "machine"]
    if not machines or max(line.get("step", 0) for line in lines) != steps:
        return None
    pairs = itertools.pairwise(lines)
    seconds = sum(line["time"] - before["time"] for before, line in pairs if line["event"] != "start")
    machine = {key: machines[-1][key] for key in ("device", "processes")}
    return machine | {"hours": seconds / 3600, "usd": lines[-1]["usd"] or None}


def render_card(report: Report, found: dict[str, Any], lines: Iterable[Line], choices: Choices) -> str:
    """The card's text.

    Args:
        found: from :func:`socrates.reporting.sections.content`.
        lines: of the training's log; may be empty.
    """
    values = {
        "markup": "markdown.j2",
        "front_matter": front_matter(report, choices),
        "choices": choices,
        "usage": usage(lines, report.training.get("steps")),
        "plots": [f"plots/{name}.svg" for name in sorted(found["figures"])],
        **(_to_load(report, choices) if report.training else {}),
    }
    text = _template("card.md.j2").render(found | values)
    return re.sub(r"\n{3,}", "\n\n", text)


def front_matter(report: Report, choices: Choices) -> str:
    """The metadata that the hub reads, as YAML."""
    source, data = str(report.raw.get("source")), report.params.get("data", {})
    hub = source == "hub"
    kind, name = (data["repo"], data["repo"]) if hub else (source, "survey answers")
    results = [
        EvalResult(
            task_type="text-generation",
            task_name="distribution of survey answers, unseen studies",
            dataset_type=kind,
            dataset_name=name,
            dataset_revision=data["revision"] if hub else None,
            metric_type=key,
            metric_name=METRICS[key].label,
            metric_value=round(found.value, 4),
        )
        for key in INDEXED
        if (found := report.estimate(report.model, key)).value is not None
    ]
    base = report.base["name"] if report.base.get("kind") == "hub" else None
    return ModelCardData(
        library_name="peft",
        pipeline_tag="text-generation",
        language=["en"],
        base_model=base,
        base_model_relation="adapter" if base else None,
        license=choices.license,
        license_name=choices.license_name if choices.license == "other" else None,
        datasets=[data["repo"]] if hub else None,
        tags=["lora", "qlora", "survey-prediction", "computational-social-science"],
        model_name=choices.adapter.rstrip("/").split("/")[-1],
        eval_results=results,
    ).to_yaml()


def write_card(folder: Path, project: Path, report: Report, choices: Choices) -> list[str]:
    """Write README.md and plots/ to ``folder``, replacing it; returns the names of the files.

    Args:
        project: the folder with ``runs/``.
    """
    lines, found = read_lines(project / "runs/train.jsonl"), content(report)
    files = {"README.md": render_card(report, found, lines, choices)}
    files |= {f"plots/{name}.svg": figure.svg for name, figure in found["figures"].items()}
    with atomic_folder(folder) as partial:
        for name, text in files.items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_text(text, encoding="utf-8")
    return sorted(files)


def snippet(report: Report, choices: Choices) -> str:
    """Python that loads base and adapter and prints the probability of each answer to an example."""
    return _template("snippet.py.j2").render(_to_load(report, choices))


def _to_load(report: Report, choices: Choices) -> dict[str, Any]:
    """What the snippet is filled with."""
    params = report.training.get("params", report.params)
    hub = report.base.get("kind") == "hub"
    if (form := params["prompt"].get("format", "survey")) != "survey":
        raise DataError(f"prompt.format {form}: the card's snippet writes prompts of format survey alone")
    example = template(params["prompt"]["layout"]).prompt(EXAMPLE, EXAMPLE_PERSONA)
    return {
        "base": json.dumps(report.base["name"] if hub else "models/base"),
        "revision": json.dumps(report.base["revision"]) if hub else "None",
        "adapter": json.dumps(choices.adapter),
        "nf4": params["model"]["quantization"] == "nf4",
        "prompt": json.dumps(example, ensure_ascii=False),
        "options": EXAMPLE_OPTIONS,
    }


def _template(name: str) -> Any:
    return templates(html=False, package="socrates.tools").get_template(name)
