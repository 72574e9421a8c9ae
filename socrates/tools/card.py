"""The model card: what the hub shows of a run, from the files that the run left.

Markdown with the YAML front matter that Hugging Face reads. What nobody measured (energy, carbon) is
called an estimate and stands beside what was assumed for it.
"""

from __future__ import annotations

import io
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
from socrates.reporting.page import Picture, content, templates
from socrates.reporting.read import Report
from socrates.runs.log import Line, read_lines
from socrates.survey.prompts import prompt
from socrates.tools.hardware import CPU_WATTS_PER_CORE, recognise

PUE = 1.2  # assumed: power of a data centre over power of its machines
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
        grams_per_kwh: of CO2 equivalent, of the electricity.
    """

    adapter: str = "models/adapter"
    license: str = "other"
    license_name: str = "not-decided"
    grams_per_kwh: float = 475.0


@dataclass(frozen=True)
class Usage:
    """What a training took, over all attempts.

    Attributes:
        device: its own name.
        processes: that trained, one per GPU.
        hours: that the machine was held by the training.
        usd: as logged; None where no price was set.
        kwh, grams: estimates; None where the device's power is not known.
        assumed: what they rest on, in words.
    """

    device: str
    processes: int
    hours: float
    usd: float | None
    kwh: float | None
    grams: float | None
    assumed: str


def usage(lines: Iterable[Line], grams_per_kwh: float, steps: int | None) -> Usage | None:
    """Hours, dollars, and the energy and carbon estimated from them.

    None without a log, or where the log's last run did not end at ``steps``: it is another one's then.
    """
    lines = list(lines)
    lines = [line for line in lines if line.get("fingerprint") == lines[-1].get("fingerprint")]
    machines = [line for line in lines if line["event"] == "machine"]
    if not machines or max((line.get("step", 0) for line in lines), default=0) != steps:
        return None
    seconds, started = 0.0, 0.0
    for before, line in zip([None, *lines], lines, strict=False):
        if line["event"] == "start":
            started = line["time"]
        elif before is not None:
            seconds += line["time"] - before["time"] if started else 0.0
    last = machines[-1]
    known, processes = recognise(last["device"]), int(last["processes"])
    if known is not None:
        watts, said = known.watts * processes, f"{known.watts:g} W for each of {processes} GPU"
    elif last["device"].startswith("CPU"):
        cores = min(int(last["cores"]), int(last["threads"]) * processes)
        watts, said = CPU_WATTS_PER_CORE * cores, f"{CPU_WATTS_PER_CORE:g} W for each of {cores} cores"
    else:
        watts, said = None, "the power of this device is not known"
    kwh = None if watts is None else watts / 1000 * seconds / 3600 * PUE
    return Usage(
        device=last["device"],
        processes=processes,
        hours=seconds / 3600,
        usd=lines[-1]["usd"] or None,
        kwh=kwh,
        grams=None if kwh is None else kwh * grams_per_kwh,
        assumed=f"{said}, at full power throughout; {PUE:g} times that for the data centre; "
        f"{grams_per_kwh:g} g of CO2 equivalent per kWh",
    )


def render_card(report: Report, found: dict[str, Any], lines: Iterable[Line], choices: Choices) -> str:
    """The card's text.

    Args:
        found: from :func:`socrates.reporting.page.content`.
        lines: of the training's log; may be empty.
    """
    used = usage(lines, choices.grams_per_kwh, report.training.get("steps"))
    params = report.training.get("params", report.params)
    text = templates(html=False, package="socrates.tools").get_template("card.md.j2")
    return text.render(
        found
        | {
            "front_matter": _yaml(front_matter(report, used, choices)),
            "choices": choices,
            "usage": used,
            "trained": {name: dict(flat(part)) for name, part in params.items() if isinstance(part, dict)},
            "parts": report.splits.get("splits", {}),
            "split": report.splits.get("split", {}),
            "plots": [name for name in sorted(plots(found)) if SHOWN.search(name)],
            "snippet": snippet(report, choices),
        }
    )


def front_matter(report: Report, used: Usage | None, choices: Choices) -> dict[str, Any]:
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
    if used is not None and used.grams is not None:
        matter["co2_eq_emissions"] = {
            "emissions": round(used.grams, 2),
            "source": f"estimated: {used.assumed}",
            "training_type": "fine-tuning",
            "hardware_used": f"{used.processes} x {used.device}",
        }
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


def plots(found: dict[str, Any]) -> dict[str, Picture]:
    """The pictures by file name, from the content of a page; none of them shows the text of a question."""
    pictures = {"headline": found["headline_picture"], "reliability": found["reliability"]}
    for name in ("study_pictures", "effect_pictures", "group_pictures", "curves"):
        for number, picture in enumerate(found[name], start=1):
            pictures[f"{name.removesuffix('_pictures')}-{number}"] = picture
    return {f"plots/{name}.svg": picture for name, picture in pictures.items()}


def write_card(folder: Path, project: Path, report: Report, choices: Choices) -> list[str]:
    """Write README.md and plots/ to ``folder``, replacing it; returns the names of the files.

    Args:
        project: the folder with ``runs/``.
    """
    lines, found = read_lines(project / "runs/train.jsonl"), content(report)
    files = {"README.md": render_card(report, found, lines, choices)}
    files |= {name: picture.svg for name, picture in plots(found).items()}
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
