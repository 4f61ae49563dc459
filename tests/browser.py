"""A headless Chromium driven over its debugging pipe, with nothing but the standard library.

It speaks the Chrome DevTools Protocol: JSON messages, each ended by a zero byte, written to the
browser's file descriptor 3 and read from its 4.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
VARIABLE = "FORKPOINT_CHROMIUM"
PATIENCE_S = 60.0
"""How long one answer of the browser is waited for. Generous: machines that run tests are busy."""

KEYS = {
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    "Tab": ("Tab", 9, ""),
    "Home": ("Home", 36, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
}
"""Per key its code, its Windows key code and the text it types."""


def find_chromium() -> str | None:
    """A Chromium or Chrome on this machine: what `VARIABLE` names, else by its usual names."""
    named = os.environ.get(VARIABLE)
    return named or next(filter(None, map(shutil.which, NAMES)), None)


_PLACE = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, place in zip(ends, (3, 4)):
    os.dup2(end, place)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""Puts the ends of two pipes where the browser looks for them, and becomes the browser."""


class Browser:
    """One browser with one page. A context manager.

    All its network goes to a proxy on a port where nothing listens, so that whatever a page asks
    for fails, and is seen.

    Args:
        program: what `find_chromium` found.
        profile: an empty folder for its profile.
    """

    def __init__(self, program: str, profile: Path) -> None:
        self.requests: list[str] = []
        """What the page asked for, data in its own address apart."""
        self.complaints: list[str] = []
        """What the page logged, dialogs that it opened, and errors of its scripts."""
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        options = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--remote-debugging-pipe", "--proxy-server=127.0.0.1:9", "--proxy-bypass-list=<-loopback>",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--hide-scrollbars", f"--user-data-dir={profile}", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PLACE, str(to_browser), str(from_browser), program, *options],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._unread = b""
        self._sent = 0
        self._session = ""
        targets = self._ask("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self._ask("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._ask(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def open(self, path: Path, *, scripts: bool = True) -> None:
        """Show a file, and wait until it is loaded."""
        self.requests.clear()
        self.complaints.clear()
        self._ask("Emulation.setScriptExecutionDisabled", value=not scripts)
        self._loaded = False
        self._ask("Page.navigate", url=path.as_uri())
        until = time.monotonic() + PATIENCE_S
        while not self._loaded:
            self._read(until)

    def look(self, width: int, height: int = 900, scheme: str = "light") -> None:
        """Make the window `width` CSS pixels wide, for a reader who prefers a `scheme` of colours."""
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self._ask("Emulation.setEmulatedMedia", media="", features=media)

    def print_look(self, scheme: str = "light") -> None:
        """Show the page as it is printed for a reader who prefers a `scheme` of colours."""
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self._ask("Emulation.setEmulatedMedia", media="print", features=media)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page, after the next frame."""
        return self.evaluate_now(
            f"new Promise(go => requestAnimationFrame(() => go({expression})))"
        )

    def evaluate_now(self, expression: str) -> Any:
        """The same at once: pages whose scripts are turned off have no next frame."""
        found = self._ask(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise AssertionError(f"{expression}: {json.dumps(found['exceptionDetails'])}")
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key of `KEYS`."""
        code, number, typed = KEYS[key]
        for kind in ("keyDown", "keyUp"):
            self._ask(
                "Input.dispatchKeyEvent", type=kind, key=key, code=code,
                windowsVirtualKeyCode=number, text=typed if kind == "keyDown" else "",
            )  # fmt: skip

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self._ask("Input.insertText", text=text)

    def point(self, selector: str, *, click: bool = False) -> None:
        """Move the mouse to the middle of the first element that matches, and click it."""
        box = self.evaluate(
            f"(e => {{ e.scrollIntoView({{block: 'center', behavior: 'instant'}}); "
            "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        where: dict[str, Any] = {"x": box[0], "y": box[1]}
        self._ask("Input.dispatchMouseEvent", type="mouseMoved", **where)
        if click:
            for kind in ("mousePressed", "mouseReleased"):
                self._ask(
                    "Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where
                )

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Keep a picture of the page."""
        found = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        encoded = json.dumps(message).encode() + b"\0"
        while encoded:
            encoded = encoded[os.write(self._out, encoded) :]
        until = time.monotonic() + PATIENCE_S
        while True:
            answer = self._read(until)
            if answer.get("id") == self._sent:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer.get("result", {})  # type: ignore[no-any-return]

    def _read(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until - time.monotonic()))
            more = os.read(self._in, 1 << 20) if ready else b""
            if not more:
                raise AssertionError("the browser gave no answer")
            self._unread += more
        encoded, self._unread = self._unread.split(b"\0", 1)
        message: dict[str, Any] = json.loads(encoded)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, about: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            if not about["request"]["url"].startswith(("data:", "about:")):
                self.requests.append(about["request"]["url"])
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append(f"dialog: {about['message']}")
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(f"console: {about['args']}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(f"error: {about['exceptionDetails']}")
        elif method == "Log.entryAdded":
            self.complaints.append(f"log: {about['entry']['text']}")
