"""Backups on a real S3 server, on a plain folder, and on stores that fail."""

import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from fsspec.implementations.local import LocalFileSystem

from socrates.core.errors import TrainingError
from socrates.runs import backup, checkpoints
from socrates.runs.backup import Store, Uploader, error_code, open_store, resume_point
from tests.s3_server import BUCKET, SECRET, S3Server, use_credentials

MARK = "a" * 64
REMOTE = f"runs/train/{MARK}"  # in the bucket


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = S3Server(tmp_path_factory.mktemp("s3"))
    yield running
    running.kill()


@pytest.fixture
def s3(server, monkeypatch):
    """The server, running, with an empty bucket and its credentials in the environment."""
    use_credentials(monkeypatch)
    for path in server.bucket.iterdir():
        shutil.rmtree(path)
    server.restart()
    return server


@pytest.fixture
def upload(tmp_path, monkeypatch):
    """Starts the upload of the checkpoints in the folder ``a`` to a store."""
    monkeypatch.setattr(backup, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(backup, "LONGEST_WAIT", 0.2)
    made = []

    def start(store: Store, keep: int = 5) -> Uploader:
        made.append(Uploader(store, tmp_path / "a", keep))
        return made[-1]

    yield start
    for each in made:
        each.close()


def checkpoint(root, step, files=2, size=1000):
    folder = root / checkpoints.name(step)
    (folder / "global_step").mkdir(parents=True)
    for number in range(files):
        (folder / "global_step" / f"{number}.pt").write_bytes(bytes([step % 251, number]) * (size // 2))
    checkpoints.write_manifest(folder, MARK)
    return folder


def on(s3: S3Server) -> Store:
    return open_store(f"s3://{BUCKET}/runs", "train", MARK, s3.endpoint)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["s3", "folder"])
def test_a_checkpoint_goes_to_the_store_and_comes_back_whole(kind, request, tmp_path, upload):
    folder = str(tmp_path / "nas")
    store = on(request.getfixturevalue("s3")) if kind == "s3" else open_store(folder, "train", MARK)
    assert store.fetch_newest(tmp_path / "b") is None
    uploader = upload(store, keep=2)
    for step in (10, 20, 30):
        checkpoint(tmp_path / "a", step)
        uploader.drain(60)
    assert (uploader.state["done"], uploader.state["waiting"], store.complete()) == (30, [], [20, 30])
    fetched = store.fetch_newest(tmp_path / "b")
    assert fetched == tmp_path / "b" / "checkpoint-30" and checkpoints.validate(fetched) is None
    assert checkpoints.read_manifest(fetched) == checkpoints.read_manifest(tmp_path / "a" / "checkpoint-30")
    assert store.fetch_newest(tmp_path / "b", after=30) is None


def test_a_server_killed_during_the_upload_is_waited_for(s3, tmp_path, upload, caplog):
    remote = s3.bucket / REMOTE / "checkpoint-10"
    checkpoint(tmp_path / "a", 10, files=60, size=200_000)
    uploader = upload(on(s3))
    wait_for(lambda: remote.is_dir() and any(path.is_file() for path in remote.rglob("*.pt")))
    s3.kill()
    wait_for(lambda: caplog.text.count("BACKUP FAILED") >= 2)
    assert not (remote / checkpoints.MANIFEST).exists()
    with pytest.raises(TrainingError, match=r"not backed up: .*checkpoint-10 \("):
        uploader.drain(1.0)
    with pytest.raises(TrainingError, match="backup store cannot be read and written"):
        resume_point(tmp_path / "b", MARK, 1, on(s3))
    s3.start()
    uploader.drain(60)
    assert uploader.state == {"done": 10, "waiting": [], "error": None}
    assert on(s3).fetch_newest(tmp_path / "b") == tmp_path / "b" / "checkpoint-10"


def test_wrong_credentials_are_reported_without_showing_them(s3, tmp_path, upload, monkeypatch, caplog):
    wrong = "wrong-secret-9876543210"
    use_credentials(monkeypatch, secret=wrong)
    caplog.set_level(logging.DEBUG, logger="socrates")
    checkpoint(tmp_path / "a", 10)
    uploader = upload(on(s3))
    with pytest.raises(TrainingError) as drained:
        uploader.drain(3)
    with pytest.raises(TrainingError) as fetched:
        resume_point(tmp_path / "b", MARK, 1, on(s3))
    for text in (str(drained.value), str(fetched.value), caplog.text, str(uploader.state)):
        assert not [secret for secret in (wrong, SECRET, os.environ["AWS_ACCESS_KEY_ID"]) if secret in text]
    assert "BACKUP FAILED" in caplog.text
    assert uploader.state["waiting"] == [10]


def test_half_uploaded_objects_are_passed_over_and_cleaned_away(s3, tmp_path, upload):
    store, uploader = on(s3), upload(on(s3))
    checkpoint(tmp_path / "a", 10)
    uploader.drain(60)
    half = s3.bucket / REMOTE / "checkpoint-20"
    shutil.copytree(tmp_path / "a" / "checkpoint-10", half)  # a machine died before it sent the manifest
    (half / checkpoints.MANIFEST).unlink()
    s3.restart()
    assert store.complete() == [10]
    assert store.fetch_newest(tmp_path / "b") == tmp_path / "b" / "checkpoint-10"
    checkpoint(tmp_path / "a", 30)
    uploader.drain(60)
    assert store.complete() == [10, 30] and not half.exists()


@pytest.mark.parametrize("content", [b"", b"\x00" * 1000])
def test_an_object_with_other_bytes_sends_the_fetch_one_back(content, tmp_path, caplog):
    store = open_store(str(tmp_path / "nas"), "train", MARK)
    for step in (10, 20):
        store.put(checkpoint(tmp_path / "a", step))
    (Path(store.root) / "checkpoint-20/global_step/1.pt").write_bytes(content)
    assert store.fetch_newest(tmp_path / "b") == tmp_path / "b" / "checkpoint-10"
    assert "the backup of step 20 is damaged" in caplog.text


class Full(LocalFileSystem):
    """A plain folder on a disk that may be full."""

    full = True

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        super().put_file(lpath, rpath, **options)
        if self.full:
            os.truncate(rpath, 10)
            raise OSError(28, "No space left on device")


def test_a_full_folder_is_survived_and_what_was_deleted_meanwhile_is_not_waited_for(tmp_path, upload):
    disk = Full(skip_instance_cache=True, auto_mkdir=True)
    store = Store(disk, str(tmp_path / "store"))
    old, _ = checkpoint(tmp_path / "a", 10), checkpoint(tmp_path / "a", 20)
    uploader = upload(store)
    wait_for(lambda: uploader.state["error"])
    assert "No space left" in uploader.state["error"] and (tmp_path / "store/checkpoint-20").exists()
    shutil.rmtree(old)  # local retention
    uploader._failures = 9999  # after a month
    wait_for(lambda: uploader._failures > 9999)
    disk.full = False
    uploader.drain(20)
    assert uploader.state["done"] == 20 and store.complete() == [20]
    assert store.fetch_newest(tmp_path / "b") is not None


def test_the_newer_of_machine_and_store_is_resumed_from(tmp_path):
    store = open_store(str(tmp_path / "nas"), "train", MARK)
    assert resume_point(tmp_path / "a", MARK, 1, store) is None
    for step in (10, 20):
        store.put(checkpoint(tmp_path / "a", step))
    newer = checkpoint(tmp_path / "b", 30)
    assert resume_point(tmp_path / "b", MARK, 1, store) == newer
    shutil.rmtree(newer)
    checkpoint(tmp_path / "b", 10)
    assert resume_point(tmp_path / "b", MARK, 1, store) == tmp_path / "b" / "checkpoint-20"


@pytest.mark.parametrize("fault", ["cannot be written", "no answer for 0 s", "is down"])
def test_a_store_that_cannot_be_used_stops_a_start_in_time_and_only_where_needed(
    fault, request, tmp_path, monkeypatch
):
    store = open_store("https://127.0.0.1:9/x", "train", MARK)
    if fault == "is down":
        s3 = request.getfixturevalue("s3")
        (store := on(s3)).probe()
        assert not list(s3.bucket.rglob(".probe*"))
        s3.kill()
    if fault.startswith("no answer"):
        monkeypatch.setattr(backup, "ANSWER", 0.2)
        monkeypatch.setattr(Store, "probe", lambda _: time.sleep(600))
    says = fault if fault.startswith("no answer") else "cannot be read and written"
    with pytest.raises(TrainingError, match=says):
        resume_point(tmp_path / "a", MARK, 1, store)
    here = checkpoint(tmp_path / "a", 10)
    assert resume_point(tmp_path / "a", MARK, 1, store) == here


def test_copies_of_a_machine_that_went_further_are_left_alone(tmp_path):
    store = open_store(str(tmp_path / "nas"), "train", MARK)
    for step in (10, 20, 900):
        store.put(checkpoint(tmp_path / "a", step))
    store.rotate(newest=20, keep=1)
    assert store.complete() == [20, 900]


@pytest.mark.parametrize(
    ("url", "endpoint", "says"),
    [("s4://bucket/x", None, "unknown scheme 's4'"), ("s3://me:hunter2hunter2@bucket/x", None, "carries credentials"),
     ("/mnt/backup", "http://127.0.0.1:9000", "endpoint_url is for s3"), ("gs://bucket/x", None, "gcsfs"),
     ("s3://", None, "names no bucket"), ("s3:///runs", None, "names no bucket")],
)  # fmt: skip
def test_a_url_that_cannot_be_used_is_refused_in_one_line(url, endpoint, says):
    with pytest.raises(TrainingError, match=says) as refused:
        open_store(url, "train", MARK, endpoint)
    assert "\n" not in str(refused.value) and "hunter2" not in str(refused.value)


def test_of_a_stores_error_type_and_code_are_shown_and_not_the_text():
    refused = ClientError({"Error": {"Code": "AccessDenied", "Message": "AKID hunter2hunter2"}}, "PutObject")
    translated = PermissionError("AKID hunter2hunter2")
    translated.__cause__ = refused
    assert error_code(refused) == "ClientError (AccessDenied)"
    assert error_code(translated) == "PermissionError (AccessDenied)"
    assert error_code(OSError(28, "secret")) == "OSError (No space left on device)"
    assert error_code(ValueError("secret")) == "ValueError"
