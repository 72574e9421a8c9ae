"""The parameters of an experiment: one file, typed, unknown keys refused, all problems at once.

Each section of ``params.yaml`` is a class in ``params.py`` of the folder that uses it. Each stage checks the *whole*
file, so that a typo in ``evaluate`` is found before ``train`` has cost an hour. The other sections' modules are looked
up by name, not imported: what a stage does not read can stop it but never change its result, so that its code is no
dependency of the stage (``dvc.yaml``).
"""

import difflib
import importlib
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from socrates.core.errors import ParamsError, SocratesError

PATH = Path("params.yaml")

# Section of a pipeline's file -> the module of its class, which has the section's name.
SECTIONS = {
    **dict.fromkeys(("data", "sample", "split"), "socrates.data.params"),
    **dict.fromkeys(("model", "prompt"), "socrates.model.params"),
    **dict.fromkeys(("lora", "train", "deepspeed"), "socrates.training.params"),
    "run": "socrates.runs.params",
    "predict": "socrates.prediction.params",
    "evaluate": "socrates.evaluation.params",
}
GSM8K_SECTIONS = {  # of gsm8k/params.yaml
    **dict.fromkeys(("problems", "warmup", "grpo", "rewards", "solve"), "gsm8k.params"),
    **{name: SECTIONS[name] for name in ("model", "lora", "deepspeed", "run")},
}


def pinned(revision: str) -> str:
    """``revision``, if it is a commit. Raises ``ValueError`` for any other name, since that can move."""
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ValueError("must be a full 40-digit commit hash: a branch or tag can move")
    return revision


Commit = Annotated[str, AfterValidator(pinned)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what every library takes


class Section(BaseModel):
    """A section of the parameters: frozen, strict about types, strict about names."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class TableSource(Section):
    """Where a table comes from, and how much of it may be unusable."""

    LOCAL: ClassVar[str]  # what a local path may be, in words

    source: Literal["synthetic", "hub", "local"]
    path: str | None  # of a local source
    repo: str  # hub: dataset name
    revision: Commit  # hub
    max_rejected: Annotated[float, Field(ge=0, le=1)]  # share of rows that may be unusable

    @model_validator(mode="after")
    def _path_is_of_a_local_source(self) -> Self:
        if self.source == "local" and not self.path:
            raise ValueError(f"source 'local' needs a path ({self.LOCAL})")
        if self.source != "local" and self.path:
            told = f"path {self.path!r} is read with source 'local' only, and source is {self.source!r}"
            raise ValueError(told)
        return self


S = TypeVar("S", bound=Section)
GIVEN = reprlib.Repr()  # of a value in a message
GIVEN.maxlevel = 2  # lists of lists of lists can hold more than the memory


def load(section: type[S], path: Path = PATH, sections: dict[str, str] = SECTIONS) -> S:
    """The section of class ``section`` from ``path``, after checking the whole file (:func:`parse`)."""
    return parse(read_yaml(path), path, sections)[section.__name__.lower()]  # type: ignore[return-value]


def read_yaml(
    path: Path,
    hint: str = "run from the folder that holds it",
    keys: str = "sections such as 'data:' and 'train:'",
    error_class: type[SocratesError] = ParamsError,
    reader: YAML | None = None,
) -> dict[str, Any]:
    """The mapping in a YAML 1.2 file (the dialect DVC reads: ``1e-5`` is a number), or ``error_class``.

    ``hint``: what to do about a missing file; ``keys``: what it holds; ``reader``: another than of plain values.
    """
    try:
        raw = (reader or YAML(typ="safe")).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error_class(f"{path}: not found; {hint}") from None
    except UnicodeDecodeError as error:
        raise error_class(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except (YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2026-02-30
        raise error_class(f"{path}: not valid YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(raw, dict):
        raise error_class(f"{path}: expected {keys}")
    return raw


def parse(raw: dict[str, Any], path: Path = PATH, sections: dict[str, str] = SECTIONS) -> dict[str, Section]:
    """Every section of a raw mapping. Raises :class:`ParamsError` with all unknown, missing and mistyped keys."""
    errors = [_unknown(key, sections) for key in raw if key not in sections]
    parsed: dict[str, Section] = {}
    for name, module in sections.items():
        section = getattr(importlib.import_module(module), name.capitalize())
        if name not in raw:
            errors.append(f"{name}: section is missing")
            continue
        try:
            parsed[name] = section.model_validate(raw[name])
        except ValidationError as error:
            errors += problems(error, section, name)
    if errors:
        raise ParamsError(f"{path}: " + "; ".join(errors))
    return parsed


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a nested mapping under its dotted key, in the mapping's order."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def problems(error: ValidationError, model: type[BaseModel], *prefix: str) -> list[str]:
    """What the validation of a ``model`` found, one ``train.learning_rate: what is wrong (what was given)`` each.

    Keys begin with ``prefix``, and entries of lists count from 1.
    """
    return [_problem(item, model, prefix) for item in error.errors()]


def _problem(item: Any, model: type[BaseModel], prefix: Iterable[str]) -> str:
    place, kind = item["loc"], item["type"]
    key = ".".join([*prefix, *(str(part + 1 if isinstance(part, int) else part) for part in place)])
    if kind == "extra_forbidden":
        return _unknown(key, _fields(model, place[:-1]))
    if kind == "missing":
        return f"{key}: is missing"
    if kind in ("model_type", "model_attributes_type"):
        known = [f"{name}:" for name in _fields(model, place)]
        return f"{key}: give {' and '.join(known[:2])} in it, not a text"
    message = item["msg"].removeprefix("Value error, ")
    given = "" if isinstance(item["input"], Mapping) else f" (got {GIVEN.repr(item['input'])})"
    advice = ": put quotes around it" if kind == "string_type" and given else ""
    if kind == "less_than_equal" and item["ctx"]["le"] == 1:
        advice = ": a share is a part of 1, such as 0.4 for 40 %"
    return (f"{key}: " if key else "") + message[0].lower() + message[1:] + given + advice


def _fields(model: type[BaseModel], inner: Iterable[int | str]) -> Iterable[str]:
    """The names that a model knows, or one that lies in it."""
    for name in inner:
        if isinstance(name, str) and name in model.model_fields:
            kind: Any = model.model_fields[name].annotation
            model = next(iter(get_args(kind)), kind)  # of a list, what is in it
    return model.model_fields


def _unknown(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key.rsplit(".", 1)[-1], list(known), n=1)
    return f"{key}: unknown key" + (f" (did you mean {close[0]}?)" if close else "")
