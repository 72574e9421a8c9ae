"""Every private attribute of another library that the project uses, and that it is still there."""

import ast
import inspect
from pathlib import Path

import deepspeed.ops
import pytest
from bitsandbytes.nn import Linear4bit
from transformers import Trainer

from tests import tiny

OURS = {"os._exit"}  # documented in spite of its name
PRIVATE = {"deepspeed.ops.__compatible_ops__", "trainer._save_checkpoint"}
PYTHON = {"__name__", "__init__", "__cause__", "__eq__", "__setattr__", "_asdict"}


def private_attributes(path: Path) -> set[str]:
    """Attributes with a leading underscore of anything but ``self``, and imports of such names."""
    used = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            used.add(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom):
            used |= {alias.name for alias in node.names if alias.name.startswith("_")}
    return {name for name in used - OURS if name[:5] != "self." and name.split(".")[-1] not in PYTHON}


def test_private_attributes_are_used_in_one_file_and_named_here():
    files = [path for room in ("socrates", "gsm8k", "stages") for path in (tiny.ROOT / room).rglob("*.py")]
    used = {(str(path.relative_to(tiny.ROOT)), name) for path in files for name in private_attributes(path)}
    assert used == {("socrates/model/internals.py", name) for name in PRIVATE}


@pytest.mark.parametrize(
    ("owner", "name", "purpose"),
    [
        (deepspeed.ops, "__compatible_ops__", "keep DeepSpeed from compiling kernels on a CPU"),
        (Trainer, "_save_checkpoint", "save when an evaluation is stopped"),
        (Linear4bit, "support_avx512bf16_for_cpu", "keep bitsandbytes from repacking 4-bit weights on a CPU"),
    ],
)
def test_it_is_still_there(owner, name, purpose):
    assert name in inspect.getsource(owner), f"{name} is gone: find another way to {purpose}"
