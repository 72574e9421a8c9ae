"""``model``: the base model, a pinned hub revision or the small one built here.
``prompt``: how a respondent and a scenario become text."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from socrates.core.params import Commit, Section, Seed

BUILTIN = "builtin/tiny-qwen2"


class Tiny(Section):
    """The built-in Qwen2-shaped model and its pre-training (``model.name: builtin/tiny-qwen2``)."""

    vocab_size: Annotated[int, Field(ge=300)]
    hidden_size: Annotated[int, Field(ge=16)]
    intermediate_size: Annotated[int, Field(ge=16)]
    layers: PositiveInt
    heads: PositiveInt
    pretrain_steps: PositiveInt
    pretrain_batch: PositiveInt  # rows per step
    pretrain_learning_rate: PositiveFloat
    seed: Seed

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.heads % 2 or self.hidden_size % (2 * self.heads):
            raise ValueError("hidden_size must be an even multiple of heads, which are even")
        return self


class Model(Section):
    name: str
    revision: Commit | None  # null for the built-in model and for a folder
    tokenizer: str | None  # built-in model only: a local tokenizer folder to use instead of a new one
    quantization: Literal["nf4", "none"]
    tiny: Tiny

    @property
    def builtin(self) -> bool:
        """Whether the model is made here rather than fetched."""
        return self.name == BUILTIN

    @property
    def local(self) -> bool:
        """Whether ``name`` is the folder of a whole model on this machine."""
        return self.name.startswith(("/", "./", "../"))

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.name.startswith("builtin/") and not self.builtin:
            raise ValueError(f"the only built-in model is {BUILTIN}")
        if not self.builtin and not self.local and self.revision is None:
            raise ValueError(
                "a hub model needs a revision, a full 40-digit commit hash: its page on the hub has it, under "
                "Files and versions; a folder's name begins with / or ./"
            )
        if self.tokenizer and not self.builtin:
            raise ValueError("tokenizer is for the built-in model; a hub model brings its own")
        return self


class Prompt(Section):
    layout: Literal["scenario_first", "persona_first"]
    max_length: Annotated[int, Field(ge=32)]  # tokens, prompt and answer
    format: Literal["survey", "chat", "socrates"] = "survey"  # records of earlier runs do not name it

    @model_validator(mode="after")
    def _as_released(self) -> Self:
        if self.format == "socrates" and self.layout != "persona_first":
            raise ValueError("format socrates is the released models' prompt: its layout is persona_first")
        return self
