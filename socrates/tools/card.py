"""A run on the Hugging Face hub: its model card, and adapter, card, metrics and plots in one commit.

The card is the Markdown report, with the YAML front matter that the hub reads, how to load the adapter, and licences.
"""

import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, ModelCardData

from socrates.core.errors import DataError, SourceError
from socrates.core.files import atomic_folder
from socrates.core.hub import hub_errors
from socrates.reporting.jinja import templates
from socrates.reporting.read import Report
from socrates.reporting.sections import content
from socrates.survey.prompts import template

ADAPTER, METRICS = Path("models/adapter"), Path("metrics")
KINDS = (".safetensors", ".json", ".txt", ".model", ".jinja")  # of an adapter's folder; nothing pickled
EXAMPLE = (
    "A town wants a new tram line. Is that a good idea? Only return an integer from 1 to 5, nothing else."
)
EXAMPLE_OPTIONS = (1, 2, 3, 4, 5)
EXAMPLE_PERSONA = "Age: 34; Gender: Female"
TEMPLATES = templates(html=False, package="socrates.tools")


def render_card(report: Report, found: dict[str, Any], adapter: str, license_: str | None) -> str:
    """The card's text. ``found``: :func:`socrates.reporting.sections.content`. ``adapter``: where the loading snippet
    finds it, a folder or a repository of the hub. ``license_``: an identifier of the hub; None: not decided."""
    base = report.base["name"] if report.base.get("kind") == "hub" else None
    front = ModelCardData(  # without figures: the hub would show them without their intervals
        library_name="peft",
        pipeline_tag="text-generation",
        language=["en"],
        base_model=base,
        base_model_relation="adapter" if base else None,
        license=license_ or "other",
        license_name=None if license_ else "not-decided",
        datasets=[report.params["data"]["repo"]] if report.raw.get("source") == "hub" else None,
        tags=["lora", "qlora", "survey-prediction", "computational-social-science"],
    )
    values = {
        "markup": "markdown.j2",
        "front_matter": front.to_yaml(),
        "license": license_ or "not decided",
        "plots": [f"plots/{name}.svg" for name in sorted(found["figures"])],
        **(to_load(report, adapter) if report.training else {}),
    }
    return re.sub(r"\n{3,}", "\n\n", TEMPLATES.get_template("card.md.j2").render(found | values))


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


def files_to_publish(project: Path, card: Path) -> dict[str, Path]:
    """The files of a repository by their path in it, sorted: adapter and metrics of ``project``, and the card's.

    Only what is named here leaves the machine: no row of the data, no page that quotes questions, no log.
    """
    files = {path.name: path for path in (project / ADAPTER).glob("*") if path.suffix in KINDS}
    files |= {path.relative_to(card).as_posix(): path for path in card.rglob("*") if path.is_file()}
    for pattern in ("evaluate.json", "train.csv", "tables/*.csv"):
        files |= {path.relative_to(project).as_posix(): path for path in (project / METRICS).glob(pattern)}
    for name, where in (("adapter_model.safetensors", ADAPTER), ("README.md", card)):
        if name not in files:
            raise DataError(f"{where}: has no {name}; run dvc repro")
    return dict(sorted(files.items()))


def upload(repo: str, files: dict[str, Path], public: bool) -> str:
    """Put ``files`` on the hub as one commit, or nothing, with the token that ``hf auth login`` keeps; its address."""
    api = HfApi()
    with hub_errors(repo, "--repo"):
        api.create_repo(repo, private=not public, exist_ok=True, repo_type="model")
        if not public and api.model_info(repo).private is False:
            told = "is there already and public; make it private on the hub, or say --public"
            raise SourceError(f"{repo}: {told}")
        operations = [CommitOperationAdd(path, str(file)) for path, file in files.items()]
        done = api.create_commit(repo, operations, commit_message="Adapter, card, metrics and plots")
        return str(done.commit_url)
