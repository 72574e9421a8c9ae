"""Questions to try the model with: ``predict --example N``."""

from typing import NamedTuple


class Example(NamedTuple):
    demographics: str
    scenario: str


BUS = (
    "You read about a plan in your county to build a new bus line. It would raise the sales tax by half a percent "
    "for six years. How likely are you to vote for it? Only return an integer from 0 to 100, where 0 means Very "
    "unlikely and 100 means Very likely, nothing else."
)
VITRUD = (  # of the default's made world, on a topic of a test study
    'People here talk about "vitrud". Members of "toflur" endorse it. How much do you support or oppose "vitrud"? '
    "Only return an integer from 1 to 7, where 1 means Strongly oppose and 7 means Strongly support, nothing else."
)
LEFT = "Political affiliation: Strong Democrat; Ideology: Very Liberal"
RIGHT = "Political affiliation: Strong Republican; Ideology: Very Conservative"
EXAMPLES = [
    Example(f"Age: 30; Gender: Female; Education: Post grad study/professional degree; {LEFT}", VITRUD),
    Example(f"Age: 61; Gender: Male; Education: High school graduate or equivalent; {RIGHT}", BUS),
    Example(f"Age: 24; Gender: Female; {LEFT}", BUS),
]
