"""One archive that measures on a machine without network: python -m benchmarks.gpu_kit [gpu-kit.tar.xz]

The machine has a Python of the same version, torch (2.11 or newer, CUDA 13), transformers, accelerate and peft. The
archive holds the project and, in ``site/``, the other packages that it needs: their Python files, and of the compiled
ones those that a miniature run of ``benchmarks.gpu`` loads, stripped, with bitsandbytes' library for CUDA 13. There:
``tar xf gpu-kit.tar.xz && cd gpu-kit && PYTHONPATH=site python -m benchmarks.gpu --check``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

from socrates.core.errors import SocratesError, run

MOST = 60 * 2**20  # bytes of the archive
BROUGHT = ("torch", "transformers", "accelerate", "peft")
MAYBE = {
    "pydantic",
    "pydantic_core",
    "annotated_types",
    "typing_inspection",
}  # some of their versions require it
UNUSED = {"scipy", "pillow"}  # loaded where they are there, and not needed
CUDA = "bitsandbytes/libbitsandbytes_cuda130.so"
FOLDERS = ("socrates", "gsm8k", "stages", "benchmarks", "presets")
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
        for name in FOLDERS:
            shutil.copytree(
                name, kit / name, ignore=shutil.ignore_patterns("__pycache__", "data", "models", "metrics")
            )
        shutil.copyfile("params.yaml", kit / "params.yaml")
        collect(kit / "site")
        with tarfile.open(out, "w:xz", preset=6) as archive:
            archive.add(kit, "gpu-kit")
    size = out.stat().st_size
    if size > MOST:
        raise SocratesError(f"{out}: {size / 2**20:.1f} MiB, more than {MOST / 2**20:.0f}")
    print(f"{out}: {size / 2**20:.1f} MiB")


def collect(site: Path) -> None:
    """Copy to ``site`` what a miniature run loads from the environment and the machine does not have."""
    packages, there = Path(sysconfig.get_path("purelib")), brought() - MAYBE
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    loaded = {Path(line) for line in done.stdout.split("FILES\n")[1].splitlines()} | {packages / CUDA}
    files = {path for path in loaded if packages in path.parents}
    names = {path.relative_to(packages).parts[0] for path in files} - there - UNUSED
    for name in names:  # on a GPU other files of the same packages are read
        files |= {path for path in (packages / name).rglob("*") if path.suffix in (".py", ".json", ".jinja")}
        for distribution in metadata.packages_distributions().get(name, []):
            files |= set(packages.glob(f"{distribution.replace('-', '_')}-*.dist-info/METADATA"))
    for path in files:
        relative = path.relative_to(packages)
        if relative.parts[0].removesuffix(".libs") in there | UNUSED or "tests" in relative.parts:
            continue
        (site / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, site / relative)
        if ".so" in path.name:
            subprocess.run(["strip", "--strip-unneeded", str(site / relative)], check=False)


def brought() -> set[str]:
    """The modules of :data:`BROUGHT` and of what they require, as they lie among the installed packages."""
    wanted, known = list(BROUGHT), set()
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name not in known:
            known.add(name)
            required = metadata.requires(name) if _installed(name) else None
            wanted += [re.split(r"[^\w.-]", one)[0] for one in required or [] if "extra ==" not in one]
    modules = metadata.packages_distributions()
    return {
        module
        for module, owners in modules.items()
        if {re.sub(r"[-_.]+", "-", o).lower() for o in owners} & known
    }


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    run(main)
