#!/usr/bin/python3
"""The chat of examples/ in two tabs of a real browser: cut, frozen, and the broker restarted. No
message is lost or doubled, or the page says where.
"""

import time
import unittest

import broker_process
from broker_process import Broker, unused_port, wait_until
from chromium import Chromium
from cutting_proxy import CuttingProxy

SEED = 20_261_121
CUTS_COUNT = 50
CUTS_TIMEOUT_S = 90
ROOM = ("--examples", "--workers", "2", "--topic-rule", "match=chat/#,history_messages=5000")

# Keeps what was shown, in its order, and talks by the form as people do.
RECORDER = """
window.shown = [];
window.notices = [];
new MutationObserver((changes) => {
    for (const line of changes.flatMap((change) => [...change.addedNodes])) {
        if (line.classList.contains("notice")) notices.push(line.className);
        else if (!line.classList.contains("pending")) shown.push(line.childNodes[1].data);
    }
}).observe(document.getElementById("log"), { childList: true });
window.say = (text) => {
    document.getElementById("words").value = text;
    document.getElementById("form").requestSubmit();
};
window.talk = (name, everyMs) => {
    window.said = 0;
    // Who sees that nothing goes out waits, before the client's queue is full.
    window.talking = setInterval(() => {
        if (document.querySelectorAll(".pending").length < 5) say(`${name} ${said++}`);
    }, everyMs);
};
"""
IS_CONNECTED = "document.getElementById('state').textContent === 'connected'"
IS_QUIET = "document.querySelector('.pending') === null"


class BrowserChatTest(unittest.TestCase):
    def setUp(self):
        self.browser = Chromium()
        self.browser.__enter__()
        self.addCleanup(self.browser.__exit__, None, None, None)

    def enter(self, broker, name, socket_port=None):
        url = f"http://127.0.0.1:{broker.port}/examples/chat.html?room=test&name={name}"
        if socket_port is not None:
            url += f"&broker=ws://127.0.0.1:{socket_port}/ws"
        tab = self.browser.open(url)
        tab.run(RECORDER)
        tab.wait(IS_CONNECTED)
        return tab

    def settle(self, tabs, texts_count):
        for tab in tabs:
            tab.wait(f"{IS_QUIET} && shown.length >= {texts_count}")
        time.sleep(0.3)  # for what should not come

    def assert_shown_once(self, tabs, names):
        """Everything that was said, once, in the order of those who said it, and alike in all tabs."""
        counts = [tab.run("said") for tab in tabs]
        self.settle(tabs, sum(counts))
        shown = [tab.run("shown") for tab in tabs]
        for name, count in zip(names, counts):
            said = [f"{name} {number}" for number in range(count)]
            for texts in shown:
                self.assertEqual(said, [text for text in texts if text.startswith(name)])
        self.assertEqual(shown[0], shown[1])

    def count_missing(self, tab):
        return sum("missing" in classes for classes in tab.run("notices"))

    def test_connections_that_are_cut_fifty_times(self):
        port = unused_port()
        with Broker(*ROOM, "--allowed-origins", f"http://127.0.0.1:{port}",
                    listen=(f"127.0.0.1:{port}",)) as broker:
            with CuttingProxy(broker.port, CUTS_COUNT, SEED, 500, 2_500) as proxy:
                tabs = [self.enter(broker, name, proxy.port) for name in ("Ada", "Ben")]
                for tab, name in zip(tabs, ("Ada", "Ben")):
                    tab.run(f"talk('{name}', 60)")
                wait_until(lambda: proxy.cuts_count == CUTS_COUNT, CUTS_TIMEOUT_S, "all cuts")
                for tab in tabs:
                    tab.run("clearInterval(talking)")
                self.assert_shown_once(tabs, ("Ada", "Ben"))
                caught_up = sum(tab.run("notices.filter((one) => one.includes('caught-up')).length")
                                for tab in tabs)
                self.assertGreater(caught_up, 0)
                for tab in tabs:
                    self.assertEqual([0, 0], [self.count_missing(tab),
                                              tab.run("document.querySelectorAll('.failed').length")])

    def test_a_tab_that_is_frozen(self):
        heartbeat = ("--heartbeat-interval", "1s", "--heartbeat-timeout", "1s")
        with Broker(*ROOM, *heartbeat) as broker:
            tabs = [self.enter(broker, name) for name in ("Ada", "Ben")]
            # A room that was not entered yet when the tab froze is entered anew, with its last 50.
            for text in ("ready", "set"):
                tabs[0].run(f"say('{text}')")
                for tab in tabs:
                    tab.wait(f"shown.includes('{text}')")
            for tab in tabs:
                tab.run("window.said = 0; window.shown = []; 0")
            tabs[1].freeze(True)
            tabs[0].run("talk('Ada', 10)")
            time.sleep(4)
            tabs[0].run("clearInterval(talking)")
            tabs[1].freeze(False)
            self.assertGreater(tabs[0].run("said"), 50)
            self.assert_shown_once(tabs, ("Ada", "Ben"))

    def test_a_restart_with_state_loses_nothing(self):
        port = unused_port()
        with Broker(*ROOM, "--state-dir", f"{self.browser.folder}/state",
                    listen=(f"127.0.0.1:{port}",)) as broker:
            tabs = self.talk_over_a_restart(broker)
            self.assert_shown_once(tabs, ("Ada", "Ben"))
            self.assertEqual([0, 0], [self.count_missing(tab) for tab in tabs])

    def test_a_restart_without_state_is_told(self):
        port = unused_port()
        with Broker(*ROOM, listen=(f"127.0.0.1:{port}",)) as broker:
            tabs = self.talk_over_a_restart(broker)
            for tab in tabs:
                self.assertEqual(1, self.count_missing(tab))
                texts = tab.run("shown")
                self.assertEqual(len(set(texts)), len(texts))
                self.assertIn("Messages may be missing here",
                              tab.run("document.querySelector('.missing').textContent"))
                self.assertTrue(tab.run("document.querySelector('.missing').checkVisibility()"))

    def talk_over_a_restart(self, broker):
        tabs = [self.enter(broker, name) for name in ("Ada", "Ben")]
        for tab, name in zip(tabs, ("Ada", "Ben")):
            tab.run(f"talk('{name}', 40)")
        for tab in tabs:
            tab.wait("shown.length > 20")
        broker.stop()
        broker.start()
        for tab in tabs:
            tab.wait(IS_CONNECTED)
        for tab in tabs:
            tab.wait("(window.before ??= shown.length) + 20 < shown.length")
        for tab in tabs:
            tab.run("clearInterval(talking)")
        for tab in tabs:
            tab.wait(IS_QUIET)
        return tabs


if __name__ == "__main__":
    broker_process.main()
