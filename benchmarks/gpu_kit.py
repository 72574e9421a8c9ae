"""One archive that measures on a machine without network: python -m benchmarks.gpu_kit [gpu-kit.tar.xz]

The machine brings its own Python of the same version, torch (2.11 or newer, CUDA 13), transformers, accelerate and peft.
The archive holds the project and, in ``site/``, the packages that it needs besides: their Python files, and of the
compiled ones those that a miniature run of ``benchmarks.gpu`` loads, stripped, with bitsandbytes' library for CUDA 13.
There: ``tar xf gpu-kit.tar.xz && cd gpu-kit && PYTHONPATH=site python -m benchmarks.gpu --check``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

from socrates.core.errors import SocratesError, run

MOST = 60 * 2**20  # bytes of the archive
CUDA = "bitsandbytes/libbitsandbytes_cuda130.so"
BROUGHT = {"torch", "torchgen", "functorch", "transformers", "accelerate", "peft", "numpy", "triton", "nvidia", "pip"}
# What those four need is there with them.
BROUGHT |= set(
    "PIL yaml regex tqdm filelock fsspec jinja2 markupsafe mpmath sympy networkx packaging psutil safetensors tokenizers "
    "huggingface_hub typing_extensions.py httpcore2 httpx2 anyio idna h11 scipy setuptools _distutils_hack".split()
)
PROJECT = ["socrates", "gsm8k", "stages", "benchmarks", "presets", "params.yaml", "gsm8k/params.yaml", "requirements.txt"]
LOADED = """
import sys
from benchmarks import gpu
gpu.report(gpu.TINY, rounds=1)
maps = {line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}
print("FILES", *maps, *(m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)), sep="\\n")
"""


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "gpu-kit.tar.xz").absolute()
    with tempfile.TemporaryDirectory() as folder:
        kit = Path(folder) / "gpu-kit"
        for name in PROJECT:
            source = Path(name)
            copy = shutil.copytree if source.is_dir() else shutil.copyfile
            (kit / name).parent.mkdir(parents=True, exist_ok=True)
            if not (kit / name).exists():
                copy(source, kit / name)  # type: ignore[operator]
        collect(kit / "site")
        with tarfile.open(out, "w:xz", preset=6) as archive:
            archive.add(kit, "gpu-kit", filter=lambda item: None if "__pycache__" in item.name else item)
    size = out.stat().st_size
    if size > MOST:
        raise SocratesError(f"{out}: {size / 2**20:.1f} MiB, more than {MOST / 2**20:.0f}")
    print(f"{out}: {size / 2**20:.1f} MiB")


def collect(site: Path) -> None:
    """Copy what a miniature run loads from the environment, and is not brought, to ``site``."""
    packages = Path(sysconfig.get_path("purelib"))
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    loaded = {Path(line) for line in done.stdout.split("FILES\n")[1].splitlines()} | {packages / CUDA}
    files = {path for path in loaded if packages in path.parents}
    names = {path.relative_to(packages).parts[0] for path in files} - BROUGHT
    for name in names:  # a GPU may take another way through the same packages
        files |= {path for path in (packages / name).rglob("*") if path.suffix in (".py", ".json", ".jinja")}
        files |= set(packages.glob(f"{name}-*.dist-info/METADATA"))
    for path in files:
        relative = path.relative_to(packages)
        if relative.parts[0].split("-")[0] in BROUGHT or "tests" in relative.parts:
            continue
        target = site / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        if ".so" in path.name:
            subprocess.run(["strip", "--strip-unneeded", str(target)], check=False)


if __name__ == "__main__":
    run(main)
