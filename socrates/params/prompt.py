"""``prompt``: how a respondent and a scenario become text."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from socrates.params import Section


class Prompt(Section):
    layout: Literal["scenario_first", "persona_first"]
    max_length: Annotated[int, Field(ge=32)]  # tokens, prompt and answer
