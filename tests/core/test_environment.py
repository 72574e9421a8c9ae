"""What every process of the project has before another library is imported."""

import os
import subprocess
import sys

import pytest

from tests import tiny

CODE = """
import {package}, logging, os
print(os.environ["OMP_WAIT_POLICY"], os.environ["HF_HUB_DISABLE_TELEMETRY"])
for text in ("Failed to load CPU gemm_4bit_forward from kernels-community: no", "something else"):
    logging.getLogger("bitsandbytes.backends.cpu.ops").warning(text)
"""


@pytest.mark.parametrize("package", ["stages", "gsm8k.stages", "socrates.cli"])
@pytest.mark.parametrize("own", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_a_process_has_the_settings_and_is_quiet(package, own):
    environment = {"PATH": os.environ["PATH"], **own}
    command = [sys.executable, "-c", CODE.format(package=package)]
    done = subprocess.run(command, cwd=tiny.ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [own.get("OMP_WAIT_POLICY", "PASSIVE"), "1"]
    assert done.stderr == "something else\n"
