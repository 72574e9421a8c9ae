"""The model card: what the hub shows of a run, from the files that the run left.

The Markdown report, with the YAML front matter that Hugging Face reads, how to load the adapter, and licences.
"""

import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from socrates.core.errors import DataError
from socrates.core.files import atomic_folder
from socrates.reporting.jinja import templates
from socrates.reporting.read import Report
from socrates.reporting.sections import content
from socrates.survey.prompts import template

EXAMPLE = (
    "A town wants a new tram line. Is that a good idea? Only return an integer from 1 to 5, nothing else."
)
EXAMPLE_OPTIONS = (1, 2, 3, 4, 5)
EXAMPLE_PERSONA = "Age: 34; Gender: Female"
TEMPLATES = templates(html=False, package="socrates.tools")


def render_card(report: Report, found: dict[str, Any], adapter: str, license_: str | None) -> str:
    """The card's text.

    ``found``: from :func:`socrates.reporting.sections.content`. ``adapter``: where the loading snippet finds it, a
    folder or a repository of the hub. ``license_``: an identifier of the hub; None: not decided.
    """
    values = {
        "markup": "markdown.j2",
        "front_matter": front_matter(report, license_),
        "license": license_ or "not decided",
        "plots": [f"plots/{name}.svg" for name in sorted(found["figures"])],
        **(to_load(report, adapter) if report.training else {}),
    }
    return re.sub(r"\n{3,}", "\n\n", TEMPLATES.get_template("card.md.j2").render(found | values))


def front_matter(report: Report, license_: str | None) -> str:
    """The metadata that the hub reads, as YAML. It has no figures: the hub would show them without their intervals."""
    base = report.base["name"] if report.base.get("kind") == "hub" else None
    return ModelCardData(
        library_name="peft",
        pipeline_tag="text-generation",
        language=["en"],
        base_model=base,
        base_model_relation="adapter" if base else None,
        license=license_ or "other",
        license_name=None if license_ else "not-decided",
        datasets=[report.params["data"]["repo"]] if report.raw.get("source") == "hub" else None,
        tags=["lora", "qlora", "survey-prediction", "computational-social-science"],
    ).to_yaml()


def write_card(folder: Path, report: Report, adapter: str, license_: str | None) -> list[str]:
    """Write README.md and plots/ to ``folder``, replacing it; returns the names of the files."""
    found = content(report)
    files = {"README.md": render_card(report, found, adapter, license_)}
    files |= {f"plots/{name}.svg": figure.svg for name, figure in found["figures"].items()}
    with atomic_folder(folder) as partial:
        (partial / "plots").mkdir()
        for name, text in files.items():
            (partial / name).write_text(text, encoding="utf-8")
    return sorted(files)


def to_load(report: Report, adapter: str) -> dict[str, Any]:
    """What snippet.py.j2 is filled with: Python that prints the probability of each answer to an example."""
    params = report.training.get("params", report.params)
    hub = report.base.get("kind") == "hub"
    if (form := params["prompt"].get("format", "survey")) != "survey":
        raise DataError(f"prompt.format {form}: the card's snippet writes prompts of format survey alone")
    example = template(params["prompt"]["layout"]).prompt(EXAMPLE, EXAMPLE_PERSONA)
    return {
        "base": json.dumps(report.base["name"] if hub else "models/base"),
        "revision": json.dumps(report.base["revision"]) if hub else "None",
        "adapter": json.dumps(adapter),
        "nf4": params["model"]["quantization"] == "nf4",
        "prompt": json.dumps(example, ensure_ascii=False),
        "options": EXAMPLE_OPTIONS,
    }
