"""Which model is asked, and whether its parts belong together."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from socrates.app.parse import Persona, Question
from socrates.app.training_support import TrainingSupport, summarise
from socrates.core.errors import ModelError
from socrates.core.files import read_json, read_table, sha256
from socrates.core.params import PATH, load
from socrates.data.params import Data
from socrates.model.params import Prompt
from socrates.survey.tables import SCALED_RESPONSES

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

    def base_only(self) -> Self:
        """The base without the adapter, prompted as the adapter is."""
        return replace(self, adapter=None, name=str(self.base))

    @cached_property
    def support(self) -> TrainingSupport | None:
        """What training had seen; None where its table is not available. Raises :class:`DataError`."""
        table = self.training_table
        return summarise(read_table(table, SCALED_RESPONSES)) if table else None

    def outside(self, persona: Persona, question: Question) -> list[str]:
        """What of a person asked a question lies outside the training range; nothing where that is not at hand."""
        return self.support.outside(persona, question) if self.support else []

    @property
    def cautions(self) -> list[str]:
        return [*self.notes, *(self.support.cautions if self.support else [NOT_AT_HAND])]


def resolve_model(base: Path = BASE, adapter: str | None = ADAPTER) -> ModelRef:
    """The model of a base folder and its adapter's (None: the base alone). Raises :class:`ModelError` where a folder is
    missing, or the adapter was trained on another base."""
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
        manifest = base / "manifest.json"
        if not manifest.exists():
            notes.append(f"{base} has no manifest.json: whether {folder} belongs to it was not checked")
        elif "base" not in record:
            notes.append(f"{folder} does not record its base: whether it is {base} was not checked")
        elif record["base"] != (here := sha256(manifest)):
            hashes = f"(hash {str(record['base'])[:12]}; {base} is {here[:12]})"
            advice = "give the base it belongs to, or train again (dvc repro)"
            raise ModelError(f"{folder}: trained on another base model {hashes}; {advice}")
    if "prompt" in record.get("params", {}):
        prompt = Prompt.model_validate(record["params"]["prompt"])
    else:
        prompt = load(Prompt) if PATH.exists() else Prompt(layout="scenario_first", max_length=512)
    table = TRAINING_TABLE if TRAINING_TABLE.exists() else None
    name = f"{adapter} on {base}" if adapter else str(base)
    return ModelRef(base, folder, table, prompt, name, tuple(notes))
