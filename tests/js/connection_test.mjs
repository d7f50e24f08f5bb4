// The connection of fanfare.js: attempts, close codes, silence, and a page that sleeps.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Fanfare } from "../../clients/js/fanfare.js";
import {
    clock, fire, heartbeatMs, installFakePage, newClient, newestSocket, openClient, page,
    pageListenersCount, probeMs, random, settle, sockets, timeoutMs,
} from "./fake_page.mjs";

installFakePage();

const silenceMs = heartbeatMs + timeoutMs;

describe("connecting", () => {
    test("offers the subprotocol, and is open with the welcome", () => {
        const { client, eventsOf } = newClient();
        assert.equal(newestSocket().url, "ws://broker/ws");
        assert.equal(newestSocket().protocol, "fanfare.v1");
        assert.equal(client.state, "connecting");
        newestSocket().welcome();
        assert.equal(client.state, "open");
        assert.deepEqual(eventsOf("state"), [{ state: "open" }]);
    });

    test("needs a WebSocket", () => {
        assert.throws(() => new Fanfare("ws://broker/ws", { WebSocket: undefined }), TypeError);
    });

    test("an attempt without a welcome is given up", () => {
        const { eventsOf } = newClient({ connectTimeoutMs: 3_000 });
        clock.advance(2_999);
        assert.equal(newestSocket().closedWith, null);
        clock.advance(1);
        assert.equal(newestSocket().closedWith, 1000);
        assert.equal(eventsOf("state")[0].state, "connecting");
    });

    test("what a given up socket still says is not heard", () => {
        const { client } = newClient({ connectTimeoutMs: 3_000 });
        clock.advance(3_000);
        sockets[0].welcome();
        sockets[0].cut(1000);
        assert.equal(client.state, "connecting");
        clock.advance(60_000);
        assert.equal(sockets.length > 1, true);
    });

    test("a peer that does not speak the protocol ends it", () => {
        const early = '{"op":"message","topic":"t","data":1,"pos":"0:1"}';
        for (const text of ["<html>", "null", early]) {
            const { client, eventsOf } = newClient();
            newestSocket().onmessage({ data: text });
            assert.equal(client.state, "closed");
            assert.equal(eventsOf("state")[0].code, 1002);
        }
    });

    test("objects that it does not know are ignored", () => {
        const { client, socket } = openClient();
        socket.say({ op: "news", id: 1 }, { op: "heartbeat", more: 1 }, { op: "live", id: 99 });
        assert.equal(client.state, "open");
    });
});

describe("waiting", () => {
    test("backs off with full jitter up to the limit, and begins anew after a welcome", () => {
        const { eventsOf } = newClient({ backoffMinMs: 1_000, backoffMaxMs: 5_000 });
        for (let attempt = 0; attempt < 5; ++attempt) {
            newestSocket().cut();
            clock.advance(10_000);
        }
        newestSocket().welcome();
        newestSocket().cut();
        const waits = eventsOf("state").filter(({ state }) => state === "connecting");
        const times = waits.map(({ retryMs }) => retryMs);
        assert.deepEqual(times, [500, 1_000, 2_000, 2_500, 2_500, 500]);
    });

    test("the whole wait is random", () => {
        for (const value of [0, 0.999]) {
            random.value = value;
            const { eventsOf } = newClient({ backoffMinMs: 1_000 });
            newestSocket().cut();
            assert.equal(eventsOf("state")[0].retryMs, value * 1_000);
        }
    });

    const retryMsAfter = (code, goodbye = null) => {
        const { client, socket, eventsOf } = openClient({ backoffMinMs: 1_000 });
        if (goodbye !== null) socket.say({ op: "goodbye", code: "c", reason: "r", ...goodbye });
        socket.cut(code, "why");
        const { state, retryMs } = eventsOf("state").pop();
        assert.equal(client.state, state);
        return state === "closed" ? "never" : retryMs;
    };

    test("does what the close code says", () => {
        for (const code of [1000, 1002, 1003, 1007, 1009, 4000, 4099]) {
            assert.equal(retryMsAfter(code), "never", String(code));
        }
        for (const code of [1001, 1005, 1006, 1011, 1012, 1013, 3999, 4300]) {
            assert.equal(retryMsAfter(code), 500, String(code));
        }
        for (const code of [4100, 4199]) assert.equal(retryMsAfter(code), 3_500, String(code));
        for (const code of [4200, 4299]) assert.equal(retryMsAfter(code), 0, String(code));
    });

    test("waits as long as the goodbye says", () => {
        assert.equal(retryMsAfter(1001, { retry_ms: 2_310 }), 2_310);
        assert.equal(retryMsAfter(4100, { retry_ms: 7 }), 7);
        assert.equal(retryMsAfter(4100, {}), 3_500);
        const count = sockets.length;
        clock.advance(6);
        assert.equal(sockets.length, count);
    });

    test("a goodbye holds for one wait", () => {
        const { socket, eventsOf } = openClient({ backoffMinMs: 1_000 });
        socket.say({ op: "goodbye", code: "draining", reason: "", retry_ms: 9_000 });
        socket.cut(1001);
        clock.advance(9_000);
        newestSocket().cut();
        assert.equal(eventsOf("state").pop().retryMs, 1_000);
    });

    test("at once is only once", () => {
        const { socket, eventsOf } = openClient({ backoffMinMs: 1_000 });
        socket.cut(4200);
        clock.advance(0);
        newestSocket().cut(4200);
        assert.deepEqual(eventsOf("state").slice(1).map(({ retryMs }) => retryMs), [0, 1_000]);
    });
});

describe("silence", () => {
    test("is asked about, and ends the connection at heartbeat and timeout", () => {
        const { socket, eventsOf } = openClient();
        clock.advance(silenceMs - probeMs - 1);
        assert.deepEqual(socket.take(), []);
        clock.advance(1);
        assert.deepEqual(socket.take(), [{ op: "ping" }]);
        clock.advance(probeMs - 1);
        assert.equal(socket.closedWith, null);
        clock.advance(1);
        assert.equal(socket.closedWith, 1000);
        assert.equal(eventsOf("state")[1].code, 4200);
        clock.advance(0);
        assert.equal(sockets.length, 2);
    });

    test("ends with any object", () => {
        const { socket } = openClient();
        clock.advance(silenceMs - probeMs);
        clock.advance(probeMs - 1);
        socket.say({ op: "pong" });
        clock.advance(silenceMs - probeMs);
        assert.equal(socket.closedWith, null);
        assert.equal(socket.take().length, 2);
    });

    test("heartbeats keep it open without a question", () => {
        const { socket } = openClient();
        for (let beat = 0; beat < 20; ++beat) {
            clock.advance(heartbeatMs);
            socket.say({ op: "heartbeat" });
        }
        assert.deepEqual(socket.take(), []);
        assert.equal(sockets.length, 1);
    });

    test("a short timeout shortens the question", () => {
        const { socket } = openClient({}, { heartbeat_ms: 300, timeout_ms: 200 });
        clock.advance(400);
        assert.deepEqual(socket.take(), [{ op: "ping" }]);
        clock.advance(100);
        assert.equal(socket.closedWith, 1000);
    });

    test("a timer that comes late gives up nobody whose messages wait behind it", () => {
        const { socket } = openClient();
        clock.nowMs += 3_600_000; // the tab slept
        clock.advance(0);
        assert.deepEqual(socket.take(), [{ op: "ping" }]);
        socket.say({ op: "heartbeat" });
        clock.advance(probeMs);
        assert.equal(socket.closedWith, null);
    });

    test("a clock that is set back does not make it wait for ever", () => {
        const { socket } = openClient();
        clock.wallOffsetMs -= 3_600_000;
        clock.advance(silenceMs);
        assert.equal(socket.closedWith, 1000);
    });
});

describe("a page that comes back", () => {
    test("asks an open connection, once", () => {
        const { socket } = openClient();
        for (const name of ["online", "pageshow", "visibilitychange"]) fire(name);
        assert.deepEqual(socket.take(), [{ op: "ping" }]);
        clock.advance(probeMs);
        assert.equal(socket.closedWith, 1000);
    });

    test("does nothing while it is hidden", () => {
        const { socket } = openClient();
        page.visibilityState = "hidden";
        fire("visibilitychange");
        assert.deepEqual(socket.take(), []);
    });

    test("does not wait any longer, and opens one socket only", () => {
        openClient();
        newestSocket().cut();
        fire("online");
        assert.equal(sockets.length, 2);
        fire("pageshow");
        clock.advance(5_000);
        assert.equal(sockets.length, 2);
    });

    test("waits on when the broker said so, until the time is over", () => {
        openClient();
        newestSocket().say({ op: "goodbye", code: "draining", reason: "", retry_ms: 9_000 });
        newestSocket().cut(1001);
        fire("online");
        assert.equal(sockets.length, 1);
        clock.nowMs += 9_000; // the timer did not run
        fire("visibilitychange");
        assert.equal(sockets.length, 2);
    });
});

describe("closing", () => {
    test("closes the socket with 1000, and is over", async () => {
        const { client, socket, eventsOf } = openClient();
        assert.equal(pageListenersCount(), 3);
        client.close();
        client.close();
        assert.equal(socket.closedWith, 1000);
        assert.equal(client.state, "closed");
        assert.equal(eventsOf("state").filter(({ state }) => state === "closed").length, 1);
        assert.equal(pageListenersCount(), 0);
        assert.equal(clock.timers.size, 0);
        clock.advance(600_000);
        assert.equal(sockets.length, 1);
        await assert.rejects(client.publish("t", 1), { code: "closed" });
        await assert.rejects(client.subscribe("t", () => {}).ready, { code: "closed" });
    });

    test("ends a wait, too", () => {
        const { client, socket } = openClient();
        socket.cut();
        client.close();
        clock.advance(600_000);
        assert.equal(sockets.length, 1);
    });
});

describe("listeners", () => {
    test("can be taken away, and one that throws disturbs nobody", async () => {
        const { client, socket } = newClientWithSocket();
        const seen = [];
        client.on("state", () => { throw new Error("a listener's mistake"); });
        const remove = client.on("state", ({ state }) => seen.push(state));
        socket.welcome();
        assert.throws(() => clock.advance(0), /a listener's mistake/);
        remove();
        socket.cut();
        await settle();
        assert.deepEqual(seen, ["open"]);
    });
});

function newClientWithSocket() {
    return { ...newClient(), socket: newestSocket() };
}
