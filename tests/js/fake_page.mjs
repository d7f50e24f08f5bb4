// What a page is to fanfare.js, made of scripts: a WebSocket whose other end is the test, a clock
// that moves when it is told to, and a document that can be hidden.

import assert from "node:assert/strict";
import { afterEach, beforeEach } from "node:test";
import { Fanfare } from "../../clients/js/fanfare.js";

export const epoch = "e1";
export const heartbeatMs = 25_000;
export const timeoutMs = 20_000;
export const probeMs = 5_000;

// Every socket of the test, oldest first.
export const sockets = [];

export class FakeWebSocket {
    sent = []; // what the client has sent, parsed
    closedWith = null;

    constructor(url, protocol) {
        Object.assign(this, { url, protocol });
        sockets.push(this);
    }

    send(text) {
        assert.equal(this.closedWith, null, "sent on a closed socket");
        this.sent.push(JSON.parse(text));
    }

    close(code) {
        this.closedWith ??= code;
    }

    // The broker's side.

    say(...frames) {
        for (const frame of frames) this.onmessage({ data: JSON.stringify(frame) });
    }

    welcome(members = {}) {
        this.say({
            op: "welcome", client: "c", epoch, heartbeat_ms: heartbeatMs, timeout_ms: timeoutMs,
            max_message_bytes: 65_536, max_subscriptions: 1_024, ...members,
        });
        return this;
    }

    cut(code = 1006, reason = "") {
        this.onclose({ code, reason });
    }

    // Takes what was sent since the last time.
    take() {
        return this.sent.splice(0);
    }
}

class FakeTimers {
    nowMs = 1_000_000; // of the clock that is never set
    wallOffsetMs = 1_700_000_000_000; // of the one that is
    timers = new Map();
    nextId = 1;

    set = (call, delayMs = 0) => {
        this.timers.set(this.nextId, { call, dueMs: this.nowMs + delayMs });
        return this.nextId++;
    };

    clear = (id) => this.timers.delete(id);

    // Runs the timer that is due first, at its time, if that is not later than `endMs`.
    runNext(endMs = Infinity) {
        const due = [...this.timers].filter(([, timer]) => timer.dueMs <= endMs);
        if (due.length === 0) return false;
        const [id, timer] = due.reduce((a, b) => (b[1].dueMs < a[1].dueMs ? b : a));
        this.timers.delete(id);
        this.nowMs = Math.max(this.nowMs, timer.dueMs);
        timer.call();
        return true;
    }

    // Moves the clock; each timer runs at its time.
    advance(ms) {
        const endMs = this.nowMs + ms;
        while (this.runNext(endMs));
        this.nowMs = endMs;
    }
}

export let clock;
// What Math.random answers from now on.
export const random = { value: 0.5 };
// The page's events, and whether it is hidden.
export const page = { visibilityState: "visible" };
let listeners;

const replaced = {
    setTimeout: (...all) => clock.set(...all),
    clearTimeout: (...all) => clock.clear(...all),
    addEventListener: (name, listener) => listeners.set(name, listener),
    removeEventListener: (name) => listeners.delete(name),
    document: {
        get visibilityState() { return page.visibilityState; },
        addEventListener: (name, listener) => listeners.set(name, listener),
        removeEventListener: (name) => listeners.delete(name),
    },
};

export function installFakePage() {
    const originals = new Map();
    const { now } = Date;
    const { random: originalRandom } = Math;
    beforeEach(() => {
        clock = new FakeTimers();
        listeners = new Map();
        sockets.length = 0;
        random.value = 0.5;
        page.visibilityState = "visible";
        for (const [name, value] of Object.entries(replaced)) {
            originals.set(name, globalThis[name]);
            globalThis[name] = value;
        }
        Date.now = () => clock.nowMs + clock.wallOffsetMs;
        // Defined, not assigned: before Node.js 20 the prototype's is read-only.
        const value = () => clock.nowMs;
        Object.defineProperty(performance, "now", { value, configurable: true });
        Math.random = () => random.value;
    });
    afterEach(() => {
        for (const [name, value] of originals) {
            if (value === undefined) delete globalThis[name];
            else globalThis[name] = value;
        }
        Date.now = now;
        delete performance.now; // the prototype's
        Math.random = originalRandom;
    });
}

export const fire = (name) => listeners.get(name)();
export const pageListenersCount = () => listeners.size;

// Lets all promises go on that can.
export const settle = () => new Promise((resolve) => setImmediate(resolve));

export const newestSocket = () => sockets[sockets.length - 1];

// A client whose events are recorded, as [name, detail].
export function newClient(options = {}) {
    const client = new Fanfare("ws://broker/ws", { WebSocket: FakeWebSocket, ...options });
    const events = [];
    for (const name of ["state", "recovered", "unrecovered", "gap", "error"]) {
        client.on(name, (detail) => events.push([name, detail]));
    }
    const eventsOf = (name) => events.filter(([one]) => one === name).map(([, detail]) => detail);
    return { client, events, eventsOf };
}

// The same, connected; `socket` is its first one.
export function openClient(options = {}, welcome = {}) {
    const made = newClient(options);
    return { ...made, socket: newestSocket().welcome(welcome) };
}

// Runs the wait for the next attempt to its end; answers the new socket.
export function reconnect(welcome = {}) {
    const count = sockets.length;
    clock.runNext();
    assert.equal(sockets.length, count + 1, "no attempt");
    return newestSocket().welcome(welcome);
}

export const cursorOf = (...pos) => ({ epoch, pos });

// Answers the one subscribe command that was sent last: `subscribed`, and for a start other than
// "now" nothing more.
export function confirm(socket, members = {}) {
    const command = socket.take().filter(({ op }) => op === "subscribe").pop();
    socket.say({
        op: "subscribed", id: command.id, cursor: cursorOf(), recoverable: true, ...members,
    });
    return command;
}

export const message = (topic, pos, data = pos) => ({ op: "message", topic, pos, data });
