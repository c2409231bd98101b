"""Headless Chromium, driven through a pipe by its DevTools protocol: real clicks and real keys."""

import base64
import fcntl
import json
import os
import select
import subprocess
import time

SWITCHES = "headless no-sandbox disable-gpu disable-quic no-first-run disable-sync \
    disable-background-networking disable-component-update disable-dev-shm-usage hide-scrollbars \
    remote-debugging-pipe"
KEYS = {
    "Enter": {"code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
    "Tab": {"code": "Tab", "windowsVirtualKeyCode": 9},
    " ": {"code": "Space", "windowsVirtualKeyCode": 32, "text": " "},
}
SECONDS_TO_ANSWER = 60  # on a busy machine


class Browser:
    """One browser process with one tab."""

    def __init__(self, executable, folder):
        self.folder, self.events, self._unread, self._calls = folder, [], b"", 0
        command = [executable, *(f"--{switch}" for switch in SWITCHES.split())]
        command += [f"--user-data-dir={folder / 'profile'}", "about:blank"]
        reader, write_end = os.pipe()
        read_end, writer = os.pipe()
        # Chromium reads its descriptor 3 and writes 4; high numbers cannot be in their way.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 100) for end in (read_end, write_end)]
        places = 'exec 3<&"$0" 4>&"$1"; shift; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", places, *map(str, ends), *command],
            pass_fds=ends,
            stderr=subprocess.DEVNULL,
        )
        for end in (read_end, write_end, *ends):
            os.close(end)
        self._reader, self._writer = reader, writer
        self._session = None
        targets = self.send("Target.getTargets")["targetInfos"]
        target = next(each["targetId"] for each in targets if each["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def close(self):
        """End the process."""
        self.send("Browser.close")
        self._process.wait(SECONDS_TO_ANSWER)
        os.close(self._reader)
        os.close(self._writer)

    def send(self, method, **parameters):
        """Call a method of the protocol and return its result."""
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._calls:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def wait_for(self, event, holds=lambda parameters: True):
        """Return the parameters of an event of this page for which a condition holds."""
        position = 0
        while True:
            while position == len(self.events):
                self.events.append(self._receive())
            message, position = self.events[position], position + 1
            if message.get("method") == event and holds(message["params"]):
                return message["params"]

    def _receive(self):
        deadline = time.monotonic() + SECONDS_TO_ANSWER
        while b"\0" not in self._unread:
            left = max(0, deadline - time.monotonic())
            assert select.select([self._reader], [], [], left)[0], "no answer from Chromium"
            received = os.read(self._reader, 1 << 20)
            assert received, "Chromium has ended"
            self._unread += received
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    def open(self, path, width=1280, height=3000):
        """Show a file."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri())
        self.wait_for("Page.loadEventFired")

    def console(self):
        """Return what the console said since the page was opened, errors of scripts included."""
        self.send("Runtime.evaluate", expression="0")
        texts = {
            "Log.entryAdded": lambda event: event["entry"]["text"],
            "Runtime.consoleAPICalled": lambda event: str(event["args"]),
            "Runtime.exceptionThrown": lambda event: str(event["exceptionDetails"]),
        }
        said = [event for event in self.events if event.get("method") in texts]
        return [texts[event["method"]](event["params"]) for event in said]

    def evaluate(self, expression):
        """Return the value of an expression of JavaScript."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def click(self, element):
        """Click the middle of what an expression of JavaScript names."""
        box = f"{element}.getBoundingClientRect()"
        self.evaluate(f"{element}.scrollIntoView({{block: 'center'}})")
        place = {
            "x": self.evaluate(f"{box}.left + {box}.width / 2"),
            "y": self.evaluate(f"{box}.top + {box}.height / 2"),
        }
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def press(self, key):
        """Press a key of KEYS where the focus is."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, **KEYS[key])

    def download(self, element):
        """Click a link and return the name and the bytes of the file that it gives."""
        self.send(
            "Browser.setDownloadBehavior",
            behavior="allow",
            downloadPath=str(self.folder),
            eventsEnabled=True,
        )
        self.events.clear()
        self.click(element)
        name = self.wait_for("Browser.downloadWillBegin")["suggestedFilename"]
        self.wait_for("Browser.downloadProgress", lambda event: event["state"] == "completed")
        return name, (self.folder / name).read_bytes()

    def screenshot(self):
        """Return what is seen as the bytes of a PNG file."""
        return base64.b64decode(self.send("Page.captureScreenshot")["data"])
