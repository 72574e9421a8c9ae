"""The figures of README.md, so that nobody copies them by hand: ``make readme`` after a new default run.

Writes README.md between its ``<!-- NAME -->`` and ``<!-- end -->`` lines, and docs/report.svg, the report's first
figure, from metrics/, params.yaml and presets/.
"""

import re
import textwrap
from pathlib import Path

from socrates.core import files
from socrates.core.errors import DataError
from socrates.evaluation.predictors import PREDICTORS
from socrates.reporting.jinja import interval_text, number
from socrates.reporting.markdown import markdown_table
from socrates.reporting.read import Results, read_results
from socrates.reporting.sections import headline_figure
from socrates.tools.estimate import assumed_workload, estimates, span
from socrates.tools.preset import preview

README, PICTURE = Path("README.md"), Path("docs/report.svg")
SHOWN = (
    "adapter", "words_demographics", "words", "nearest", "demographics", "train_marginal",
    "uniform", "base", "base_fewshot", "pooled", "empirical_best", "planted",
)  # fmt: skip
ORACLES = ("pooled", "empirical_best", "planted")  # have seen test answers, or what they were drawn from
WIDTH = 120
PRESETS = ("one-percent", "full")
MACHINES = ("A100-80", "H100", "L4")


def result(scores: Results) -> str:
    """What the run found: W of a few predictors, and in words the figures beside it."""
    shown = {name: scores.estimate(name) for name in SHOWN if name in scores.metrics}
    rows = [(PREDICTORS[name], number(found.value), interval_text(found)) for name, found in shown.items()]
    head = (f"on {number(int(scores.count('studies_scored')))} unseen studies", "W", "95 % interval")

    def said(part: str, key: str = "wasserstein") -> str:
        found = scores.estimate(part, key)
        return f"{number(found.value)} ({interval_text(found)})"

    model, best = scores.model, scores.metrics["primary"]["baseline"]
    others = [name for name in shown if name not in (model, *ORACLES)]
    lowest = min(others, key=lambda name: scores.metrics[name]["wasserstein"])
    worth = {name: number(scores.estimate(name, "persona.log_shuffled").value) for name in (best, "planted")}
    achievable = f" and the planted truth's {worth['planted']}" if "planted" in shown else ""
    closer, beaten = (
        found.bounded and found.high < 0  # type: ignore[operator]
        for found in map(scores.estimate, (scores.primary, f"{model}_minus_pooled"))
    )
    found = "is closer to people" if closer else "is not shown to be closer"
    base = f"; against the base model {said('adapter_minus_base')}" if model != "base" else ""
    text = (
        f"The comparison that decides is with the best baseline on the validation studies, {PREDICTORS[best]}: the "
        f"{PREDICTORS[model]} {found}, by {said(scores.primary)}, paired by cell. Against the lowest of all others on "
        f"these test studies, {PREDICTORS[lowest]}, it is {said(f'{model}_minus_{lowest}')}{base}. The oracle, "
        f"which only who knows what a condition does can beat, is {'' if beaten else 'not '}beaten: "
        f"{said(f'{model}_minus_pooled')} in W, {said(f'{model}_minus_pooled', 'log_likelihood')} in log score. "
        f"Effects of conditions correlate with the respondents' at {said(model, 'effects.r')}. The respondent's own "
        f"persona is worth {said('reading', 'another_persona.log')} nats over another's of the cell, where that of "
        f"{PREDICTORS[best]} is {worth[best]}{achievable}; "
        f"{number(scores.estimate(model, 'format_validity').value)} of the probability is on allowed answers."
    )
    return markdown_table(head, rows) + "\n\n" + textwrap.fill(text, WIDTH)


def cost() -> str:
    """Estimated hours and dollars of presets on one rented GPU."""
    lines = []
    for name in PRESETS:
        rows = {row["machine"]: row for row in estimates(assumed_workload(preview(("demo", name)), 1))}
        costs = [(rows[machine]["hours"], rows[machine]["usd"]) for machine in MACHINES]
        cells = [f"{span(hours)} h, ${span(usd)}" if hours else "does not fit" for hours, usd in costs]
        lines.append([f"`{name}`", *cells])
    return markdown_table(["preset", *(f"one {machine}" for machine in MACHINES)], lines)


def with_blocks(text: str, blocks: dict[str, str]) -> str:
    """``text`` with what lies between the marks of each block replaced. Raises :class:`DataError` without marks."""
    for name, block in blocks.items():
        marked = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(?=<!-- end -->)", re.DOTALL)
        text, count = marked.subn("\\1" + block.replace("\\", r"\\") + "\n", text)
        if count != 1:
            raise DataError(f"{README}: {count} blocks between <!-- {name} --> and <!-- end -->; needs one")
    return text


def write() -> tuple[Path, Path]:
    """Write README.md and the picture in the current folder; returns their paths."""
    scores = read_results(Path())
    files.write_text(PICTURE, headline_figure(scores).svg)
    text = README.read_text(encoding="utf-8")
    files.write_text(README, with_blocks(text, {"result": result(scores), "cost": cost()}))
    return README, PICTURE
