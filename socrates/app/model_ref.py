"""Which model is asked, and whether its parts belong together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from socrates.app.parse import Persona, Question
from socrates.app.training_support import TrainingSupport, read_support
from socrates.core.errors import ModelError
from socrates.core.files import read_json, sha256
from socrates.core.params import PATH, load
from socrates.data.params import Data
from socrates.model.params import Prompt

BASE, ADAPTER = Path("models/base"), "models/adapter"
TRAINING_TABLE = Path("data/splits/train.parquet")
NOT_AT_HAND = "what training had seen is not at hand: nothing was compared with its range"
MADE_WORLD = "The model learned from a made world (data.source synthetic): nothing here is about people."


@dataclass(frozen=True)
class ModelRef:
    """The files of a model that can be asked: a base folder (or a model that was saved whole), an adapter of it or
    None, the table that it was trained on if that is available, and how its prompts are laid out. ``notes`` say that it
    learned from no people, and what could not be checked."""

    base: Path
    adapter: Path | None
    training_table: Path | None
    prompt: Prompt
    name: str
    notes: tuple[str, ...] = ()

    def base_only(self) -> ModelRef:
        """The base without the adapter, prompted as the adapter is."""
        return replace(self, adapter=None, name=str(self.base))

    @cached_property
    def support(self) -> TrainingSupport | None:
        """What training had seen; None where its table is not available. Raises :class:`DataError`."""
        return read_support(self.training_table) if self.training_table else None

    def outside(self, persona: Persona, question: Question) -> list[str]:
        """What of a person asked a question lies outside the training range; nothing where that is not at hand."""
        return self.support.outside(persona, question) if self.support else []

    @property
    def cautions(self) -> list[str]:
        """What is said with every answer."""
        return [*self.notes, *(self.support.cautions if self.support else [NOT_AT_HAND])]


def resolve_model(base: Path = BASE, adapter: str | None = ADAPTER) -> ModelRef:
    """Find a model and check that the adapter was trained on this base.

    Args:
        adapter: its folder; None for the base alone.

    Raises:
        ModelError: a folder is missing, or the adapter is of another base.
    """
    name = f"{adapter} on {base}" if adapter else str(base)
    own = adapter in (ADAPTER, None) and PATH.exists()
    notes = [MADE_WORLD] if own and load(Data).source == "synthetic" else []
    folder = Path(adapter) if adapter else None
    if not base.is_dir():
        raise ModelError(f"{base}: no such folder; run dvc repro, or dvc pull")
    trained = (folder or base) / "training.json"
    record = read_json(trained, "fetch or train the adapter again", ModelError) if trained.exists() else {}
    if folder is not None:
        if not (folder / "adapter_config.json").exists():
            wrong = "has no adapter_config.json" if folder.is_dir() else "no such folder"
            raise ModelError(f"{folder}: {wrong}; run dvc repro, or dvc pull (of the hub: hf download)")
        notes += check_base(base, folder, record)
    table = TRAINING_TABLE if TRAINING_TABLE.exists() else None
    return ModelRef(base, folder, table, _prompt(record), name, tuple(notes))


def check_base(base: Path, adapter: Path, record: dict[str, Any]) -> list[str]:
    """Refuse an adapter of another base; returns what could not be checked, a sentence each.

    Raises:
        ModelError: the hash of the base that the adapter's record names is not this base's.
    """
    manifest = base / "manifest.json"
    if not manifest.exists():
        return [f"{base} has no manifest.json: whether {adapter} belongs to it was not checked"]
    if "base" not in record:
        return [f"{adapter} does not record its base: whether it is {base} was not checked"]
    here = sha256(manifest)
    if record["base"] != here:
        raise ModelError(
            f"{adapter}: trained on another base model (hash {str(record['base'])[:12]}; {base} is {here[:12]}); "
            "give the base it belongs to, or train again (dvc repro)"
        )
    return []


def _prompt(record: dict[str, Any]) -> Prompt:
    """How the prompts of a model's training were laid out: its record, else params.yaml, else the default."""
    if "prompt" in record.get("params", {}):
        return Prompt.model_validate(record["params"]["prompt"])
    return load(Prompt) if PATH.exists() else Prompt(layout="scenario_first", max_length=512)
