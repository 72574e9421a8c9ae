"""A preset written into ``params.yaml``: ``socrates preset one-percent``; gsm8k/NAME is of the second pipeline.

Reads presets/NAME.yaml, an overlay: the keys it names get its values, all others stay, so presets
and edits by hand combine. ``extends: OTHER`` in an overlay applies that preset first. Comments, order
and layout of params.yaml are kept, and nothing is written unless the whole result is valid.
"""

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from socrates.core.errors import ParamsError
from socrates.core.files import write_text
from socrates.core.params import GSM8K_SECTIONS, PATH, SECTIONS, Section, flat, parse, read_yaml

FOLDER = Path("presets")
PIPELINES = {"": SECTIONS, "gsm8k": GSM8K_SECTIONS}  # by folder
EXTENDS = "extends"


def apply(
    name: str, path: Path = PATH, folder: Path = FOLDER, sections: Mapping[str, str] = SECTIONS
) -> list[str]:
    """Write a preset into the parameter file ``path``, atomically, if something changes; returns the changes."""
    before, written = dict(flat(read_yaml(path))), _merged([name], path, folder)
    after = YAML(typ="safe").load(written)
    try:
        parse(after, path, dict(sections))
    except ParamsError as error:
        raise ParamsError(f"{folder / name}.yaml: cannot be applied to {error}") from None
    changed = [(key, value) for key, value in flat(after) if key not in before or before[key] != value]
    if changed:
        write_text(path, written)
    return [f"{key}: {json.dumps(before.get(key))} -> {json.dumps(value)}" for key, value in changed]


def apply_to_pipeline(name: str) -> tuple[Path, list[str]]:
    """Apply preset ``NAME`` of this folder, or ``gsm8k/NAME`` of the second pipeline's: the file, and its changes."""
    pipeline, _, stem = name.rpartition("/")
    if pipeline not in PIPELINES:
        raise ParamsError(f"{pipeline}: no pipeline of that name; presets are NAME or gsm8k/NAME")
    return pipeline / PATH, apply(stem, pipeline / PATH, pipeline / FOLDER, PIPELINES[pipeline])


def layers(name: str, folder: Path = FOLDER, extended_by: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The overlays that make up preset ``name``, in the order in which they are applied."""
    known = sorted(file.stem for file in folder.glob("*.yaml"))
    if name not in known:
        raise ParamsError(f"{folder}: no preset {name!r}; there are {', '.join(known) or 'none'}")
    if name in extended_by:
        raise ParamsError(f"{folder / name}.yaml: {EXTENDS}: {' -> '.join([*extended_by, name])} is a circle")
    overlay = read_yaml(folder / f"{name}.yaml", reader=_yaml())
    below = overlay.pop(EXTENDS, None)
    return [*(layers(str(below), folder, (*extended_by, name)) if below else []), overlay]


def preview(names: Iterable[str], path: Path = PATH, folder: Path = FOLDER) -> dict[str, Section]:
    """The sections that ``path`` would hold after the named presets, one after another; nothing is written."""
    return parse(YAML(typ="safe").load(_merged(names, path, folder)), path)


def _merged(names: Iterable[str], path: Path, folder: Path) -> str:
    """The text of ``path`` with the named presets laid over it, one after another."""
    params, stream = read_yaml(path, reader=_yaml()), io.StringIO()
    for name in names:
        for layer in layers(name, folder):
            _overlay(params, layer)
    _yaml().dump(params, stream)
    return stream.getvalue()


def _overlay(target: Any, overlay: Mapping[str, Any]) -> None:
    """Set the values of ``overlay`` in a round-trip mapping; an unknown key is set too, for the check to name."""
    for key, value in overlay.items():
        old = target.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            _overlay(old, value)
        elif key not in target or old != value:
            target[key] = value


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 4096, True  # no line is folded
    # By default null would be written as nothing.
    null = ("tag:yaml.org,2002:null", "null")
    yaml.representer.add_representer(type(None), lambda representer, _: representer.represent_scalar(*null))
    return yaml
