"""Git repositories for tests, with an identity of their own and a DVC that tells nobody."""

import os
import subprocess
import sys
from pathlib import Path


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Of commands run for a repository beside which ``folder`` keeps DVC's site cache."""
    found = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder / "site")}
    found |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "OMP_NUM_THREADS": "1"}
    found["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for role in ("AUTHOR", "COMMITTER"):
        found |= {f"GIT_{role}_NAME": "test", f"GIT_{role}_EMAIL": "test@example.org"}
    return found | more


def call(folder: Path, command: str) -> str:
    """What a command that succeeds in ``folder`` prints."""
    env = environment(folder.parent)
    done = subprocess.run(command.split(), cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
