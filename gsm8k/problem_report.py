"""The report on word problems, in Markdown."""

from typing import Any

import numpy as np
import polars as pl

from gsm8k.answer_format import is_correct
from socrates.evaluation.intervals import Estimate
from socrates.reporting.jinja import markdown_cell, number
from socrates.reporting.markdown import markdown_quote, markdown_table

Json = dict[str, Any]
SIDES = {"base": "base", "trained": "trained", "difference": "trained − base"}
TITLES = {"greedy": "Greedy: the likeliest token each time", "sampled": "Drawn completions"}
MEASURES = {
    "truncated": "cut off at the length limit",
    "tokens": "tokens of a completion",
    "exact": "exact answer",
}
VERDICTS = {
    1: "training helped",
    -1: "training did harm",
    0: "no difference is established: the interval contains zero",
}


def render(
    metrics: Json, attempts: pl.DataFrame, problems: pl.DataFrame, transcripts: int, training: Json
) -> str:
    """The page, of ``pass_rates.summary`` and ``training.json``, with the greedy completions of some problems."""
    grpo = training["params"]["grpo"]
    blocks = [
        "# Did the reward teach it to solve word problems?",
        f"{training['params']['model']['name']}, {training['steps']} steps of GRPO on "
        f"{grpo['global_batch'] // grpo['generations']} problems a step with {grpo['generations']} completions "
        f"each; {training['prompts_too_long']} of the training problems were left out for their length.",
        *(f"**{line}**" for line in headline(metrics)),
    ]
    for decoding, found in sorted(metrics.items()):
        cells = {
            rate: [markdown_cell(Estimate(**found[side][rate])) for side in SIDES] for rate in found["base"]
        }
        rows = [[MEASURES.get(rate, rate.replace("_", " ")), *row] for rate, row in cells.items()]
        about = "test problems; 95 % intervals by resampling problems; the difference is paired."
        table = markdown_table(["measure", *SIDES.values()], rows)
        blocks += [f"## {TITLES[decoding]}", f"{found['problems']} {about}", table]
    spread = "Greedy completions of problems spread evenly over the test set; none is picked by its outcome."
    blocks += ["## Sample transcripts", spread]
    greedy = attempts.filter(decoding="greedy").sort("model")
    tried = problems.join(greedy, on="problem_id", how="semi").select("problem_id", "question", "answer")
    shown = np.unique(np.linspace(0, tried.height - 1, min(transcripts, tried.height)).round().astype(int))
    for problem, question, answer in tried[shown.tolist()].iter_rows():
        said = []
        for model, text in greedy.filter(problem_id=problem).select("model", "completion").iter_rows():
            said += [f"{model}, {'right' if is_correct(text, answer) else 'wrong'}:", markdown_quote(text)]
        blocks += [markdown_quote(question), f"Reference: {answer}.\n" + "\n\n".join(said)]
    made_from = {
        "base model's fingerprint": training["base"],
        "trainable parameters": number(training["trainable_parameters"]),
        **dict(sorted(training["versions"].items())),
    }
    lines = [f"| {name} | `{value}` |" for name, value in made_from.items()]
    blocks += ["## What it was made from", "\n".join(["| | |", "|---|---|", *lines])]
    return "\n\n".join(blocks) + "\n"


def headline(metrics: Json) -> list[str]:
    """For each decoding, the share of right answers before and after, and whether the difference is established."""
    lines = []
    for decoding, rates in sorted(metrics.items()):
        base, trained, gain = (Estimate(**rates[side]["exact"]) for side in SIDES)
        lines.append(
            f"{decoding}: {number(base.value)} right before, {number(trained.value)} after (difference "
            f"{number(gain.value)}, {number(gain.low)} to {number(gain.high)}): {VERDICTS[gain.sign]}."
        )
    return lines
