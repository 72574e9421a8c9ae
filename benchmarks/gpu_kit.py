"""One archive that measures on a machine without network: python -m benchmarks.gpu_kit [gpu-kit.tar.xz]

The machine has a Python of the same version, torch (2.11 or newer, CUDA 13), transformers, accelerate and peft. The
archive holds the project and, in ``site-packages/``, the other packages that it needs: their Python files, and of the
compiled ones those that a miniature run of ``benchmarks.gpu`` loads, stripped, with bitsandbytes' library for CUDA 13.
There: ``tar xf gpu-kit.tar.xz && cd gpu-kit && PYTHONPATH=site-packages python -m benchmarks.gpu --check``.
"""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from benchmarks.gpu_sections import SECTIONS
from socrates.core.errors import SocratesError, run

MOST = 60  # MiB of the archive
BROUGHT = ("torch", "transformers", "accelerate", "peft")
# Some versions of the packages above require these, and bring them.
MAYBE = {"pydantic", "pydantic_core", "annotated_types", "typing_inspection"}
# Loaded where they are there, and not needed: hidden in the miniature run.
UNUSED = {"scipy", "PIL", "pillow"}
UNUSED_FILES = re.compile(r"pyarrow/.*s3")  # a cloud's client, which pyarrow does without
CUDA = "bitsandbytes/libbitsandbytes_cuda130.so"
FOLDERS = ("socrates", "gsm8k", "stages", "benchmarks", "presets")
FILTERS = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**26}]
LOADED = """
import sys
sys.modules |= dict.fromkeys(sys.argv[2:])
from benchmarks import gpu, plans
gpu.measure(sys.argv[1], plans.TINY, rounds=1)
maps = {line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}
print("FILES", *maps, *(m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)), sep="\\n")
"""


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "gpu-kit.tar.xz").absolute()
    with tempfile.TemporaryDirectory() as folder:
        kit = Path(folder) / "gpu-kit"
        for name in FOLDERS:
            made = ("data", "models", "metrics") if name == "gsm8k" else ()  # elsewhere these are packages
            shutil.copytree(name, kit / name, ignore=shutil.ignore_patterns("__pycache__", *made))
        shutil.copyfile("params.yaml", kit / "params.yaml")
        collect(kit / "site-packages")  # so named: dill pickles modules of another folder by value
        with lzma.open(out, "wb", filters=FILTERS) as file, tarfile.open(fileobj=file, mode="w") as archive:
            archive.add(kit, "gpu-kit")
    size = out.stat().st_size / 2**20
    if size > MOST:
        raise SocratesError(f"{out}: {size:.1f} MiB, more than {MOST}: see which packages are heaviest in it")
    print(f"{out}: {size:.1f} MiB")


def collect(site: Path) -> None:
    """Copy to ``site`` what a miniature run loads from the environment and the machine does not have."""
    packages, left_out = Path(sysconfig.get_path("purelib")), brought() - MAYBE | UNUSED
    with ThreadPoolExecutor(len(SECTIONS)) as pool:
        loaded = {packages / CUDA}.union(*pool.map(files_of, SECTIONS))
    files = {path for path in loaded if packages in path.parents}
    owners = metadata.packages_distributions()
    for name in {path.relative_to(packages).parts[0] for path in files} - left_out:
        # On a GPU other files of the same packages are read.
        files |= {
            path for path in (packages / name).rglob("*") if path.suffix in (".py", ".json", ".jinja", ".md")
        }
        for distribution in owners.get(name, []):
            files |= set(packages.glob(f"{distribution.replace('-', '_')}-*.dist-info/METADATA"))
    for path in files:
        relative = path.relative_to(packages)
        top = relative.parts[0].removesuffix(".libs")
        if top in left_out or "tests" in relative.parts or UNUSED_FILES.match(relative.as_posix()):
            continue
        (site / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, site / relative)
        if ".so" in path.name:
            subprocess.run(["strip", "--strip-unneeded", str(site / relative)], check=False)


def files_of(section: str) -> set[Path]:
    """The files that a section of ``benchmarks.gpu`` loads."""
    told = subprocess.check_output([sys.executable, "-c", LOADED, section, *UNUSED], text=True)
    return {Path(line) for line in told.split("FILES\n")[1].splitlines()}


def brought() -> set[str]:
    """The modules of :data:`BROUGHT` and of what they require, as they lie among the installed packages."""
    owners = metadata.packages_distributions()
    installed = {_name(owner) for names in owners.values() for owner in names}
    wanted, known = list(BROUGHT), set[str]()
    while wanted:
        name = _name(re.split(r"[^\w.-]", wanted.pop())[0])
        if name in installed - known:
            known.add(name)
            wanted += [one for one in metadata.requires(name) or [] if "extra ==" not in one]
    return {module for module, names in owners.items() if known & set(map(_name, names))}


def _name(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


if __name__ == "__main__":
    run(main)
