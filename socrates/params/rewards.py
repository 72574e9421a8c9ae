"""``rewards``: what each part of a completion's reward is worth (word problems)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from socrates.params import Section

Weight = Annotated[float, Field(ge=0)]


class Rewards(Section):
    correctness: Weight  # the extracted answer equals the reference as a number
    integer: Weight  # the extracted answer is an integer
    strict_format: Weight  # the two blocks and nothing else, each tag on its own line
    soft_format: Weight  # begins with the two blocks
    tags: Weight  # a quarter for each tag that stands once on its own line
    trailing_penalty: Weight  # taken from tags for each character after the closing answer tag
