"""Backups on a real S3 server, on a plain folder, and on stores that fail."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from fsspec.implementations.local import LocalFileSystem

from socrates.core.errors import TrainingError
from socrates.runs import backup, checkpoints
from socrates.runs.backup import Store, Uploader, error_code, fetch_newest, open_store, resume_point
from tests.s3_server import BUCKET, SECRET, S3Server, use_credentials

MARK = "a" * 64
URL = f"s3://{BUCKET}/runs"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    running = S3Server(tmp_path_factory.mktemp("s3"))
    yield running
    running.kill()


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, running, with an empty bucket and its credentials in the environment."""
    use_credentials(monkeypatch)
    for path in server.bucket.iterdir():
        shutil.rmtree(path)
    server.restart()
    return server


@pytest.fixture
def backups(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Uploader]]:
    monkeypatch.setattr(backup, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(backup, "LONGEST_WAIT", 0.2)
    made = []

    def make(store: Store, keep: int = 5) -> Uploader:
        made.append(Uploader(store, keep))
        return made[-1]

    yield make
    for each in made:
        each.close()


def checkpoint(root: Path, step: int, files: int = 2, size: int = 1000) -> Path:
    folder = root / checkpoints.name(step)
    (folder / "global_step").mkdir(parents=True)
    for number in range(files):
        (folder / "global_step" / f"{number}.pt").write_bytes(bytes([step % 251, number]) * (size // 2))
    checkpoints.write_manifest(folder, fingerprint=MARK)
    return folder


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


def same(a: Path, b: Path) -> bool:
    def content(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }

    return content(a) == content(b)


def test_a_checkpoint_goes_to_s3_and_comes_back_whole(s3: S3Server, tmp_path: Path, backups: Any) -> None:
    store = open_store(URL, "train", MARK, s3.endpoint)
    saver = backups(store, keep=2)
    for step in (10, 20, 30):
        saver.submit(checkpoint(tmp_path / "a", step))
        saver.drain(60)
    assert saver.state["done"] == 30
    assert saver.state["waiting"] == []
    assert store.complete() == [20, 30]
    assert {path.name for path in (s3.bucket / "runs" / "train" / MARK).iterdir()} == {
        "checkpoint-20",
        "checkpoint-30",
    }
    fetched = fetch_newest(store, MARK, tmp_path / "b")
    assert fetched == tmp_path / "b" / "checkpoint-30"
    assert checkpoints.validate(fetched) is None
    assert same(tmp_path / "a" / "checkpoint-30" / "global_step", fetched / "global_step")
    assert fetch_newest(store, MARK, tmp_path / "b", after=30) is None


def test_a_server_killed_during_the_upload_is_waited_for(
    s3: S3Server, tmp_path: Path, backups: Any, caplog: pytest.LogCaptureFixture
) -> None:
    saver = backups(open_store(URL, "train", MARK, s3.endpoint))
    remote = s3.bucket / "runs" / "train" / MARK / "checkpoint-10"
    saver.submit(checkpoint(tmp_path / "a", 10, files=60, size=200_000))
    wait_for(lambda: remote.is_dir() and any(path.is_file() for path in remote.rglob("*.pt")))
    s3.kill()
    wait_for(lambda: saver.state["failures"] >= 2)
    assert not (remote / checkpoints.MANIFEST).exists()
    assert saver.state["waiting"] == [10]
    assert "BACKUP FAILED" in caplog.text
    assert fetch_is_refused(s3, tmp_path)
    s3.start()
    saver.drain(60)
    assert saver.state["error"] is None
    fetched = fetch_newest(open_store(URL, "train", MARK, s3.endpoint), MARK, tmp_path / "b")
    assert fetched is not None
    assert same(tmp_path / "a" / "checkpoint-10" / "global_step", fetched / "global_step")


def fetch_is_refused(s3: S3Server, tmp_path: Path) -> bool:
    with pytest.raises(TrainingError, match="backup store cannot be read and written"):
        fetch_newest(open_store(URL, "train", MARK, s3.endpoint), MARK, tmp_path / "b")
    return True


def test_what_is_not_backed_up_is_listed_at_the_end(s3: S3Server, tmp_path: Path, backups: Any) -> None:
    saver = backups(open_store(URL, "train", MARK, s3.endpoint))
    s3.kill()
    for step in (10, 20):
        saver.submit(checkpoint(tmp_path, step))
    with pytest.raises(TrainingError, match=r"not backed up: .*checkpoint-10, .*checkpoint-20 \("):
        saver.drain(1.0)


def test_wrong_credentials_are_reported_without_showing_them(
    s3: S3Server,
    tmp_path: Path,
    backups: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrong = "wrong-secret-9876543210"
    use_credentials(monkeypatch, secret=wrong)
    caplog.set_level(logging.DEBUG, logger="socrates")
    saver = backups(open_store(URL, "train", MARK, s3.endpoint))
    saver.submit(checkpoint(tmp_path, 10))
    with pytest.raises(TrainingError) as drained:
        saver.drain(3)
    with pytest.raises(TrainingError) as fetched:
        fetch_newest(open_store(URL, "train", MARK, s3.endpoint), MARK, tmp_path / "b")
    for text in (str(drained.value), str(fetched.value), caplog.text, str(saver), str(saver.state)):
        assert wrong not in text
        assert SECRET not in text
        assert os.environ["AWS_ACCESS_KEY_ID"] not in text
    assert "BACKUP FAILED" in caplog.text
    assert saver.state["waiting"] == [10]


def test_half_uploaded_objects_are_passed_over_and_cleaned_away(
    s3: S3Server, tmp_path: Path, backups: Any
) -> None:
    store = open_store(URL, "train", MARK, s3.endpoint)
    saver = backups(store, keep=5)
    saver.submit(checkpoint(tmp_path / "a", 10))
    saver.drain(60)
    half = s3.bucket / "runs" / "train" / MARK / "checkpoint-20"
    shutil.copytree(tmp_path / "a" / "checkpoint-10", half)  # a machine died before it sent the manifest
    (half / checkpoints.MANIFEST).unlink()
    s3.restart()
    assert store.complete() == [10]
    assert fetch_newest(store, MARK, tmp_path / "b") == tmp_path / "b" / "checkpoint-10"
    saver.submit(checkpoint(tmp_path / "a", 30))
    saver.drain(60)
    assert store.complete() == [10, 30]
    assert not half.exists()


def test_a_truncated_object_under_a_manifest_sends_the_fetch_one_back(
    s3: S3Server, tmp_path: Path, backups: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(URL, "train", MARK, s3.endpoint)
    saver = backups(store)
    for step in (10, 20):
        saver.submit(checkpoint(tmp_path / "a", step))
        saver.drain(60)
    with (s3.bucket / "runs" / "train" / MARK / "checkpoint-20" / "global_step" / "1.pt").open("r+b") as file:
        file.truncate(7)
    s3.restart()
    assert fetch_newest(store, MARK, tmp_path / "b") == tmp_path / "b" / "checkpoint-10"
    assert "the backup of step 20 is damaged" in caplog.text


class Faulty(LocalFileSystem):
    """A plain folder that fails on demand."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.full = False
        self.corrupt = False

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        if self.full:
            Path(rpath).parent.mkdir(parents=True, exist_ok=True)
            Path(rpath).write_bytes(Path(lpath).read_bytes()[:10])
            raise OSError(28, "No space left on device")
        super().put_file(lpath, rpath, **options)
        if self.corrupt and rpath.endswith(".pt"):
            data = bytearray(Path(rpath).read_bytes())
            data[0] ^= 1
            Path(rpath).write_bytes(bytes(data))


def test_a_full_folder_is_survived_and_what_was_half_written_is_replaced(
    tmp_path: Path, backups: Any
) -> None:
    folder = Faulty(skip_instance_cache=True, auto_mkdir=True)
    store = Store(folder, str(tmp_path / "store"))
    saver = backups(store)
    folder.full = True
    saver.submit(checkpoint(tmp_path / "a", 10))
    wait_for(lambda: saver.state["failures"] >= 1)
    assert "No space left" in (saver.state["error"] or "")
    folder.full = False
    saver.drain(20)
    assert store.complete() == [10]
    assert fetch_newest(store, MARK, tmp_path / "b") is not None


def test_a_byte_changed_on_the_way_sends_the_fetch_one_back(tmp_path: Path, backups: Any) -> None:
    folder = Faulty(skip_instance_cache=True, auto_mkdir=True)
    store = Store(folder, str(tmp_path / "store"))
    saver = backups(store)
    for step, folder.corrupt in ((10, False), (20, True)):
        saver.submit(checkpoint(tmp_path / "a", step))
        saver.drain(20)
    assert fetch_newest(store, MARK, tmp_path / "b") == tmp_path / "b" / "checkpoint-10"


def test_a_plain_folder_is_a_store(tmp_path: Path, backups: Any) -> None:
    store = open_store(str(tmp_path / "nas"), "train", MARK)
    store.probe()
    saver = backups(store)
    saver.submit(checkpoint(tmp_path / "a", 10))
    saver.drain(20)
    assert (tmp_path / "nas" / "train" / MARK / "checkpoint-10" / checkpoints.MANIFEST).is_file()
    assert fetch_newest(store, MARK, tmp_path / "b") == tmp_path / "b" / "checkpoint-10"


def test_an_empty_store_has_nothing_to_fetch(s3: S3Server, tmp_path: Path) -> None:
    assert fetch_newest(open_store(URL, "train", MARK, s3.endpoint), MARK, tmp_path) is None
    assert fetch_newest(open_store(str(tmp_path / "none"), "train", MARK), MARK, tmp_path) is None


def test_a_backup_of_another_fingerprint_is_not_fetched(tmp_path: Path, backups: Any) -> None:
    store = open_store(str(tmp_path / "nas"), "train", MARK)
    saver = backups(store)
    saver.submit(checkpoint(tmp_path / "a", 10))
    saver.drain(20)
    assert fetch_newest(store, "b" * 64, tmp_path / "b") is None


def test_the_newest_goes_first_and_a_deleted_one_leaves_the_backlog(tmp_path: Path, backups: Any) -> None:
    folder = Faulty(skip_instance_cache=True, auto_mkdir=True)
    folder.full = True
    store = Store(folder, str(tmp_path / "store"))
    saver = backups(store)
    old, new = checkpoint(tmp_path / "a", 10), checkpoint(tmp_path / "a", 20)
    saver.submit(old)
    saver.submit(new)
    wait_for(lambda: saver.state["failures"] >= 1)
    shutil.rmtree(old)  # local retention
    folder.full = False
    saver.drain(20)
    assert saver.state["done"] == 20
    assert store.complete() == [20]


def test_the_newer_of_machine_and_store_is_resumed_from(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "nas"), "train", MARK)
    assert resume_point(tmp_path / "a", MARK, 1, store) is None
    for step in (10, 20):
        store.put(folder := checkpoint(tmp_path / "a", step), checkpoints.read_manifest(folder))
    newer = checkpoint(tmp_path / "b", 30)
    assert resume_point(tmp_path / "b", MARK, 1, store) == newer
    shutil.rmtree(newer)
    checkpoint(tmp_path / "b", 10)
    assert resume_point(tmp_path / "b", MARK, 1, store) == tmp_path / "b" / "checkpoint-20"


def test_a_store_that_is_down_stops_a_start_only_where_it_is_needed(s3: S3Server, tmp_path: Path) -> None:
    store = open_store(URL, "train", MARK, s3.endpoint)
    s3.kill()
    with pytest.raises(TrainingError, match="cannot be read"):
        resume_point(tmp_path / "a", MARK, 1, store)
    here = checkpoint(tmp_path / "a", 10)
    assert resume_point(tmp_path / "a", MARK, 1, store) == here


def test_a_store_that_cannot_be_written_or_never_answers_stops_a_start_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store("https://127.0.0.1:9/x", "train", MARK)
    with pytest.raises(TrainingError, match="cannot be read and written: "):
        resume_point(tmp_path / "a", MARK, 1, store)
    monkeypatch.setattr(backup, "ANSWER", 0.2)
    monkeypatch.setattr(Store, "probe", lambda _: time.sleep(600))
    with pytest.raises(TrainingError, match="no answer for 0 s"):
        resume_point(tmp_path / "a", MARK, 1, store)
    monkeypatch.setattr(Store, "complete", lambda _: [])
    here = checkpoint(tmp_path / "a", 10)
    assert resume_point(tmp_path / "a", MARK, 1, store) == here


def test_copies_of_a_machine_that_went_further_are_left_alone(tmp_path: Path, backups: Any) -> None:
    store = open_store(str(tmp_path / "nas"), "train", MARK)
    for step in (10, 20, 900):
        store.put(folder := checkpoint(tmp_path / "a", step), checkpoints.read_manifest(folder))
    store.rotate(newest=20, keep=1)
    assert store.complete() == [20, 900]


def test_the_probe_says_when_a_store_does_not_answer(s3: S3Server) -> None:
    store = open_store(URL, "train", MARK, s3.endpoint)
    store.probe()
    assert not list(s3.bucket.rglob(".probe*"))
    s3.kill()
    with pytest.raises(Exception, match=r"(?i)connect"):
        store.probe()


@pytest.mark.parametrize(
    ("url", "endpoint", "says"),
    [
        ("s4://bucket/x", None, "unknown scheme 's4'"),
        ("s3://me:hunter2hunter2@bucket/x", None, "carries credentials"),
        ("/mnt/backup", "http://127.0.0.1:9000", "endpoint_url is for s3"),
        ("gs://bucket/x", None, "gcsfs"),
        ("s3://", None, "names no place"),
        ("s3:///runs", None, "names no place"),
        ("memory://x", None, "names no place"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_one_line(url: str, endpoint: str | None, says: str) -> None:
    with pytest.raises(TrainingError, match=says) as refused:
        open_store(url, "train", MARK, endpoint)
    assert "\n" not in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_of_a_stores_error_type_and_code_are_shown_and_not_the_text() -> None:
    refused = ClientError({"Error": {"Code": "AccessDenied", "Message": "AKID hunter2hunter2"}}, "PutObject")
    translated = PermissionError("AKID hunter2hunter2")
    translated.__cause__ = refused
    assert error_code(refused) == "ClientError (AccessDenied)"
    assert error_code(translated) == "PermissionError (AccessDenied)"
    assert error_code(OSError(28, "secret")) == "OSError (No space left on device)"
    assert error_code(ValueError("secret")) == "ValueError"
