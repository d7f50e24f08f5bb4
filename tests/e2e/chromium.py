"""A headless Chromium and its tabs, driven over the DevTools protocol."""

import asyncio
import json
import pathlib
import shutil
import subprocess
import tempfile
import time

import websockets

import broker_process
from broker_process import wait_until

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-default-apps", "--disable-dev-shm-usage", "--no-proxy-server",
         # Several tabs are looked at in turns.
         "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
         "--disable-backgrounding-occluded-windows")
START_TIMEOUT_S = 60
CALL_TIMEOUT_S = 30
WAIT_TIMEOUT_S = 40
POLL_S = 0.05


class Chromium:
    """with Chromium() as browser: tab = browser.open("http://…")"""

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fanfare-chromium-"))
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                ["chromium", *FLAGS, f"--user-data-dir={self.folder}/profile",
                 "--remote-debugging-port=0", "about:blank"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=broker_process.clean_environment(HOME=str(self.folder)),
                preexec_fn=broker_process.die_with_parent)
        self.loop = asyncio.new_event_loop()
        self.calls_count = 0
        try:
            port, path = wait_until(self._devtools_place, START_TIMEOUT_S, "Chromium listens")
            self.socket = self._run(self._connect(f"ws://127.0.0.1:{port}{path}"))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind, value, traceback):
        try:
            self.call("Browser.close")
            self._run(self.socket.close())
            self.process.wait(START_TIMEOUT_S)
        finally:
            self._end()

    def _end(self):
        self.process.kill()
        self.process.wait()
        self.loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _devtools_place(self):
        if self.process.poll() is not None:
            raise AssertionError(f"Chromium ended: {(self.folder / 'log').read_text()}")
        file = self.folder / "profile" / "DevToolsActivePort"
        lines = file.read_text().splitlines() if file.exists() else []
        return lines if len(lines) == 2 else None

    def _run(self, awaitable):
        async def in_time():
            return await asyncio.wait_for(awaitable, CALL_TIMEOUT_S)
        return self.loop.run_until_complete(in_time())

    @staticmethod
    async def _connect(url):
        return await websockets.connect(url, max_size=None, ping_interval=None)

    def call(self, method, session=None, **parameters):
        """Calls a method and answers its result; the events in between are of no interest."""
        self.calls_count += 1
        message = {"id": self.calls_count, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        return self._run(self._call(message))

    async def _call(self, message):
        await self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(await self.socket.recv())
            if answer.get("id") != message["id"]:
                continue
            if "error" in answer:
                raise AssertionError(f"{message['method']}: {answer['error']}")
            return answer["result"]

    def open(self, url):
        return Tab(self, url)


class Tab:
    def __init__(self, browser, url):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target,
                                    flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def run(self, expression):
        """The value of a JavaScript expression, or of its promise."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, expression, timeout_s=WAIT_TIMEOUT_S):
        """Waits until the expression is true, and answers its value."""
        deadline = time.monotonic() + timeout_s
        while True:
            value = self.run(expression)
            if value:
                return value
            if time.monotonic() >= deadline:
                page = self.run("document.body?.innerText")
                raise AssertionError(f"not within {timeout_s} s: {expression}; the page: {page}")
            time.sleep(POLL_S)

    def freeze(self, is_frozen):
        self.call("Page.setWebLifecycleState", state="frozen" if is_frozen else "active")
