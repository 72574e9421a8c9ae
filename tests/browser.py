"""Headless Chromium driven by its debugging protocol over a pair of pipes: keys in, the page's state out."""

import json
import os
import select
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE = 60  # seconds for anything
# key -> windowsVirtualKeyCode, and the text that it types
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "ArrowDown": (40, ""), "End": (35, "")}
CONTROL, SHIFT = 2, 8


class Browser:
    """One page of a fresh profile."""

    def __init__(self, folder: Path, width: int = 1280, height: int = 900) -> None:
        to_browser, self.out = os.pipe()
        self.into, from_browser = os.pipe()
        words = [str(PROGRAM), "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        words += ["--no-first-run", f"--user-data-dir={folder}/chromium", f"--window-size={width},{height}"]
        command = f"exec {shlex.join(words)} about:blank 3<&{to_browser} 4>&{from_browser}"
        fds = (to_browser, from_browser)
        self.process = subprocess.Popen(["bash", "-c", command], pass_fds=fds, stderr=subprocess.DEVNULL)
        for end in fds:
            os.close(end)
        self.events: list[dict[str, Any]] = []  # what the browser told without being asked, in order
        self.session: str | None = None
        self.asked, self.buffer = 0, b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log", "Accessibility"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.into)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to one command of the protocol."""
        self.asked += 1
        message: dict[str, Any] = {"id": self.asked, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.buffer:
                assert select.select([self.into], [], [], PATIENCE)[0], "the browser does not answer"
                part = os.read(self.into, 1 << 20)
                assert part, "the browser has gone"
                self.buffer += part
            text, self.buffer = self.buffer.split(b"\0", 1)
            told = json.loads(text)
            if told.get("id") == self.asked:
                assert "error" not in told, f"{method}: {told['error']}"
                return told["result"]
            self.events.append(told)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def resize(self, width: int, height: int = 900) -> None:
        """Set the size of the page's window, CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, expression: str) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + PATIENCE
        while not (value := self.run(expression)):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.05)
        return value

    def press(self, key: str, modifiers: int = 0) -> None:
        """Press and release a key of ``KEYS``."""
        code, text = KEYS[key]
        same = {
            "key": key,
            "code": key.strip() or "Space",
            "windowsVirtualKeyCode": code,
            "modifiers": modifiers,
        }
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **same)
        self.call("Input.dispatchKeyEvent", type="keyUp", **same)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def tree(self) -> list[dict[str, Any]]:
        """The accessibility tree: what a screen reader is told."""
        return [node for node in self.call("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
