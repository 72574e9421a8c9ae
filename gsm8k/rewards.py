"""The five rewards of a completion: is the answer right, is it an integer, is the format kept.

Their names and weights are those of the GRPO script behind the published 0.5B GSM8K model. Format and number are
read by ``gsm8k.answer_format``, which is where this differs from that script: its format patterns did not let "."
match a newline, so several lines of reasoning earned nothing; it compared answers as text, so "1,000", "$18" and
"18." were wrong and no integers; it took a completion without an answer tag for its own answer; and a missing closing
tag was charged the length of the whole completion.
"""

from collections.abc import Callable, Sequence
from typing import Any

from gsm8k.answer_format import TAGS, is_correct, is_soft, is_strict, parse_answer
from gsm8k.params import Rewards

# part -> what it gives before its weight, from a completion and the reference number as text.
PARTS: dict[str, Callable[[str, str, Rewards], float]] = {
    "correctness": lambda completion, answer, _: is_correct(completion, answer),
    "integer": lambda completion, *_: (value := parse_answer(completion)) is not None and value == int(value),
    "strict_format": lambda completion, *_: is_strict(completion),
    "soft_format": lambda completion, *_: is_soft(completion),
    "tags": lambda completion, _, weights: tags(completion, weights.trailing_penalty / weights.tags),
}


def tags(completion: str, trailing_penalty: float) -> float:
    """A quarter for each of the four tags that stands exactly once on a line of its own, less ``trailing_penalty``
    for every character after the last closing answer tag but one newline: this part alone can fall below 0."""
    lines = completion.split("\n")
    share = sum(completion.count(tag) == 1 and tag in lines for tag in TAGS) / len(TAGS)
    _, closing, rest = completion.rpartition(TAGS[-1])
    return share - trailing_penalty * (len(rest.removeprefix("\n")) if closing else 0)


def reward_functions(weights: Rewards) -> list[Callable[..., list[float]]]:
    """Each part of any weight as TRL calls it: with completions and their prompts' reference answers."""

    def weighted(part: str) -> Callable[..., list[float]]:
        def reward(
            completions: Sequence[list[dict[str, str]]], answer: Sequence[str], **_: Any
        ) -> list[float]:
            said = [messages[0]["content"] for messages in completions]
            earned = [PARTS[part](text, right, weights) for text, right in zip(said, answer, strict=True)]
            return [getattr(weights, part) * share for share in earned]

        reward.__name__ = part  # TRL's name for its curve
        return reward

    return [weighted(part) for part in PARTS if getattr(weights, part)]
