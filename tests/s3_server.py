"""A real S3 server for tests: ``rclone serve s3`` over a folder, which can be killed and started again."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

KEY, SECRET = "test-access-key", "test-secret-0123456789"
BUCKET = "bucket"


class S3Server:
    """Serves ``folder``, each of whose subfolders is a bucket; one bucket is there from the start."""

    def __init__(self, folder: Path) -> None:
        rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        if rclone is None:
            pytest.skip("rclone is not installed (pip install -r requirements-dev.txt)")
        self._rclone = rclone
        self.folder = folder
        (folder / BUCKET).mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._address = free.getsockname()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def endpoint(self) -> str:
        return f"http://{self._address[0]}:{self._address[1]}"

    @property
    def bucket(self) -> Path:
        """The bucket's objects, as files."""
        return self.folder / BUCKET

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._rclone, "serve", "s3", "--addr", f"{self._address[0]}:{self._address[1]}", "--auth-key",
             f"{KEY},{SECRET}", str(self.folder)],
            env={**os.environ, "RCLONE_CONFIG": "/dev/null"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(600):
            assert self._process.poll() is None, "rclone ended"
            with socket.socket() as probe:
                if probe.connect_ex(self._address) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError("rclone does not answer")

    def restart(self) -> None:
        """Needed after a change made in the folder itself, which the server has cached."""
        self.kill()
        self.start()

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


def use_credentials(monkeypatch: pytest.MonkeyPatch, key: str = KEY, secret: str = SECRET) -> None:
    """Put the server's credentials where the AWS chain looks, and nothing else."""
    there = {"ACCESS_KEY_ID": key, "SECRET_ACCESS_KEY": secret, "EC2_METADATA_DISABLED": "true"}
    nowhere = {"CONFIG_FILE": "/nowhere/config", "SHARED_CREDENTIALS_FILE": "/nowhere/credentials"}
    for name, value in (there | nowhere).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
