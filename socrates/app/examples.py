"""Questions to try the model with: ``predict --example N``."""

from __future__ import annotations

from typing import NamedTuple


class Example(NamedTuple):
    """A persona and the scenario put to them."""

    demographics: str
    scenario: str


EXAMPLES = [
    Example(
        "Age: 30; Gender: Female; Education: Post grad study/professional degree; Income: 75-99K",
        "Should the minimum wage be increased to $15 an hour? "
        "Only return an integer from 1 to 7, where 1 means Strongly oppose and 7 means Strongly favor, nothing else.",
    ),
    Example(
        "Age: 61; Gender: Male; Education: High school graduate or equivalent; "
        "Political affiliation: Strong Republican; Ideology: Very Conservative",
        "You read about a plan in your county to build a new bus line. It would raise the sales tax by half a "
        "percent for six years. How likely are you to vote for it? Only return an integer from 0 to 100, where 0 "
        "means Very unlikely and 100 means Very likely, nothing else.",
    ),
    Example(
        "Age: 24; Gender: Female; Political affiliation: Strong Democrat; Ideology: Very Liberal",
        "You read about a plan in your county to build a new bus line. It would raise the sales tax by half a "
        "percent for six years. How likely are you to vote for it? Only return an integer from 0 to 100, where 0 "
        "means Very unlikely and 100 means Very likely, nothing else.",
    ),
    Example(
        "Age: 45; Gender: Male; Education: Some college; Ideology: Moderate",
        "A hospital reports that its waiting times fell by a third after it hired more nurses. How much do you "
        "trust this report? Only return an integer from 1 to 5, where 1 means Not at all and 5 means Completely, "
        "nothing else.",
    ),
    Example(
        "Age: 52; Gender: Female; Political affiliation: Lean Democrat; Ideology: Somewhat Liberal",
        "A neighbour asks you to sign a petition for a library in your district. Would you sign it? "
        "Only return 1 for 'Yes' or 2 for 'No', nothing else.",
    ),
]
