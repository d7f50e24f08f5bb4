// The subscriptions of fanfare.js: who gets which message, and how they come back.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { matches } from "../../clients/js/fanfare.js";
import {
    clock, confirm, cursorOf, epoch, installFakePage, message, newClient, newestSocket, openClient,
    reconnect, settle,
} from "./fake_page.mjs";

installFakePage();

const recovered = { op: "subscribed", recoverable: true, recovered: true };

// A handler that notes the data it gets.
function notes() {
    const seen = [];
    return [seen, ({ data }) => seen.push(data)];
}

// A client with one live subscription to x/# whose stream begins at 0:10.
function liveClient() {
    const made = openClient();
    const [seen, handler] = notes();
    const subscription = made.client.subscribe("x/#", handler);
    confirm(made.socket, { cursor: cursorOf("0:10") });
    return { ...made, seen, subscription };
}

describe("the matcher", () => {
    test("agrees with PROTOCOL.md", () => {
        const cases = [
            ["news/#", ["news", "news/uk", "news/uk/sport", "news/"], ["newsx", "new", "/news"]],
            ["+", ["a", ""], ["a/b", "/", "$a"]],
            ["#", ["a", "a/b", "/"], ["$SYS", "$SYS/a"]],
            ["$SYS/#", ["$SYS", "$SYS/a"], ["SYS"]],
            ["a/+/c", ["a/b/c", "a//c", "a/$b/c"], ["a/c", "a/b/c/d", "a/b"]],
            ["+/+", ["/", "a/b"], ["a", "a/b/c", "$a/b"]],
            ["a/", ["a/"], ["a", "a/b"]],
            ["a/+/#", ["a/b", "a/b/c", "a/"], ["a"]],
            ["a", ["a"], ["a/", "b", "A"]],
        ];
        for (const [filter, matching, others] of cases) {
            assert.deepEqual(matching.filter((topic) => !matches(filter, topic)), [], filter);
            assert.deepEqual(others.filter((topic) => matches(filter, topic)), [], filter);
        }
    });
});

describe("subscribing", () => {
    test("sends one command, and is ready with its answer", async () => {
        const { client, socket } = openClient();
        const start = { last: 5 };
        const { ready, filters } = client.subscribe(["a", "b/+", "a"], () => {}, { start });
        assert.deepEqual(filters, ["a", "b/+"]);
        const { id, ...command } = confirm(socket);
        assert.equal(Number.isInteger(id), true);
        assert.deepEqual(command, { op: "subscribe", filters: ["a", "b/+"], start: { last: 5 } });
        assert.deepEqual(await ready, { cursor: cursorOf(), recoverable: true });
    });

    test("before the connection is open, waits for it", () => {
        const { client } = newClient();
        client.subscribe("a", () => {});
        assert.deepEqual(newestSocket().take(), []);
        newestSocket().welcome();
        assert.deepEqual(newestSocket().take().map(({ filters, start }) => [filters, start]),
            [[["a"], "now"]]);
    });

    test("needs a handler", () => {
        assert.throws(() => openClient().client.subscribe("a"), TypeError);
    });

    test("that is refused rejects, tells, and is not repeated", async () => {
        const { client, socket, eventsOf } = openClient();
        const { ready } = client.subscribe(["a", "b#"], () => {});
        const [{ id }] = socket.take();
        socket.say({ op: "error", id, code: "invalid_filter", reason: "why" });
        await assert.rejects(ready, { code: "invalid_filter", reason: "why" });
        assert.equal(eventsOf("error")[0].code, "invalid_filter");
        socket.cut();
        assert.deepEqual(reconnect().take(), []);
    });

    test("with more than a frame can hold, or half a surrogate pair, is refused here", async () => {
        for (const [filter, code] of [["x".repeat(65_536), "too_large"],
            ["a/\ud800", "invalid_payload"]]) {
            const { client, socket, eventsOf } = openClient();
            const { ready } = client.subscribe(filter, () => {});
            await assert.rejects(ready, { code });
            assert.equal(eventsOf("error").length, 1);
            assert.deepEqual(socket.take().filter(({ op }) => op === "subscribe"), []);
        }
    });

    test("an error without an id is told", () => {
        const { socket, eventsOf } = openClient();
        socket.say({ op: "error", code: "invalid_json", reason: "" });
        socket.say({ op: "error", id: 77, code: "not_subscribed", reason: "" });
        assert.deepEqual(eventsOf("error").map(({ code }) => code), ["invalid_json"]);
    });
});

describe("dispatch", () => {
    test("goes to every handler that matches, once each", () => {
        const { client, socket } = openClient();
        const all = [["x/#", "x/+"], ["x/1"], ["y"]].map((filters) => {
            const [seen, handler] = notes();
            client.subscribe(filters, handler);
            confirm(socket);
            return seen;
        });
        socket.say(message("x/1", "0:1"), message("y", "0:2"), message("z", "0:3"));
        assert.deepEqual(all, [["0:1"], ["0:1"], ["0:2"]]);
    });

    test("carries JSON, text and bytes", () => {
        const { client, socket } = openClient();
        const seen = [];
        client.subscribe("t", (one) => seen.push(one));
        confirm(socket);
        socket.say({ op: "message", topic: "t", data: { a: null } },
            { op: "message", topic: "t", pos: "0:7", text: "ü" },
            { op: "message", topic: "t", base64: "AAH+/w==" });
        assert.deepEqual(seen, [
            { topic: "t", kind: "json", data: { a: null }, replayed: false },
            { topic: "t", kind: "text", data: "ü", replayed: false, pos: "0:7" },
            { topic: "t", kind: "bytes", data: Uint8Array.of(0, 1, 254, 255), replayed: false },
        ]);
    });

    test("a handler that throws keeps nothing from the others", () => {
        const { client, socket } = openClient();
        client.subscribe("t", () => { throw new Error("a handler's mistake"); });
        confirm(socket);
        const [seen, handler] = notes();
        client.subscribe("t", handler);
        confirm(socket);
        socket.say(message("t", "0:1"));
        assert.deepEqual(seen, ["0:1"]);
        assert.throws(() => clock.advance(0), /a handler's mistake/);
    });

    test("after close() no handler is called", () => {
        const { client, socket } = openClient();
        const [seen, handler] = notes();
        client.subscribe("t", () => client.close());
        confirm(socket);
        client.subscribe("t", handler);
        confirm(socket);
        socket.say(message("t", "0:1"));
        assert.deepEqual(seen, []);
    });

    test("announced messages go to the subscription whose replay it is", () => {
        const { client, socket, seen } = liveClient();
        const [replayed, handler] = notes();
        client.subscribe("x/#", handler, { start: { last: 2 } });
        const { id } = confirm(socket, { cursor: cursorOf("0:12") });
        socket.say({ op: "replay", id, count: 2 }, message("x/1", "0:11"),
            { op: "heartbeat" }, message("x/1", "0:12"), message("x/1", "0:13"),
            { op: "live", id, cursor: cursorOf("0:13") }, message("x/1", "0:14"));
        assert.deepEqual(seen, ["0:13", "0:14"]);
        assert.deepEqual(replayed, ["0:11", "0:12", "0:13", "0:14"]);
    });

    test("before its `subscribed` a subscription gets nothing of what others get", () => {
        const { client, socket } = liveClient();
        const [seen, handler] = notes();
        client.subscribe("x/1", handler);
        socket.say(message("x/1", "0:11"));
        confirm(socket, { cursor: cursorOf("0:11") });
        socket.say(message("x/1", "0:12"));
        assert.deepEqual(seen, ["0:12"]);
    });

    test("messages without history arrive while it catches up", () => {
        const { client, socket } = openClient();
        const [seen, handler] = notes();
        client.subscribe("x", handler, { start: { last: 2 } });
        confirm(socket);
        socket.say({ op: "message", topic: "x", data: 1 });
        assert.deepEqual(seen, [1]);
    });
});

describe("unsubscribing", () => {
    test("ends the handler at once, and the filter when nobody else uses it", () => {
        const { client, socket, seen, subscription } = liveClient();
        const other = client.subscribe(["x/#", "y"], () => {});
        confirm(socket);
        subscription.unsubscribe();
        subscription.unsubscribe();
        assert.deepEqual(socket.take(), []);
        socket.say(message("x/1", "0:11"));
        assert.deepEqual(seen, []);
        other.unsubscribe();
        assert.deepEqual(socket.take().map(({ op, filter }) => [op, filter]),
            [["unsubscribe", "x/#"], ["unsubscribe", "y"]]);
        socket.cut();
        assert.deepEqual(reconnect().take(), []);
    });

    test("before the answer rejects `ready`", async () => {
        const { client, socket } = openClient();
        const subscription = client.subscribe("x", () => {});
        const [{ id }] = socket.take();
        subscription.unsubscribe();
        await assert.rejects(subscription.ready, { code: "unsubscribed" });
        socket.say({ op: "subscribed", id, cursor: cursorOf(), recoverable: true });
        assert.equal(client.state, "open");
    });

    test("what could not even be sent is no error", async () => {
        const { client, eventsOf } = openClient();
        client.subscribe("x".repeat(65_536), () => {}).unsubscribe();
        await settle();
        assert.deepEqual(eventsOf("error"), []);
    });

    test("while offline sends nothing, ever", () => {
        const { client } = newClient();
        client.subscribe("x", () => {}).unsubscribe();
        assert.deepEqual(newestSocket().welcome().take(), []);
    });

    test("during a replay counts on, without a handler", () => {
        const { client, socket, seen } = liveClient();
        const [replayed, handler] = notes();
        const subscription = client.subscribe("x/1", handler, { start: { last: 9 } });
        const { id } = confirm(socket);
        socket.say({ op: "replay", id, count: 2 }, message("x/1", "0:3"));
        subscription.unsubscribe();
        socket.say(message("x/1", "0:4"), message("x/1", "0:11"));
        assert.deepEqual(replayed, ["0:3"]);
        assert.deepEqual(seen, ["0:11"]);
    });

    test("before a replay is announced counts it all the same", () => {
        const { client, socket, seen } = liveClient();
        const subscription = client.subscribe("x/1", () => {}, { start: { last: 9 } });
        const { id } = confirm(socket);
        subscription.unsubscribe();
        socket.say({ op: "replay", id, count: 1 }, message("x/1", "0:3"), message("x/1", "0:11"));
        assert.deepEqual(seen, ["0:11"]);
    });

    test("a refused neighbour leaves nothing behind", () => {
        const { client, socket, subscription } = liveClient();
        client.subscribe(["x/#", "b#"], () => {});
        const [{ id }] = socket.take();
        subscription.unsubscribe(); // x/# is still wanted
        assert.deepEqual(socket.take(), []);
        socket.say({ op: "error", id, code: "invalid_filter", reason: "" });
        assert.deepEqual(socket.take().map(({ filter }) => filter), ["x/#", "b#"]);
    });
});

describe("coming back", () => {
    test("all that was live resumes in one command after the shared cursor", () => {
        const { client, socket, seen, eventsOf } = liveClient();
        client.subscribe("y", () => {});
        confirm(socket, { cursor: cursorOf("1:5") });
        socket.say(message("x/1", "0:11"), message("x/1", "0:12"),
            { op: "position", cursor: cursorOf("1:9", "2:3", "0:4") });
        socket.cut();
        const again = reconnect();
        const { id, ...command } = confirm(again, { cursor: cursorOf("0:12"), recovered: true });
        assert.deepEqual(command, {
            op: "subscribe", filters: ["x/#", "y"],
            start: { after: { epoch, pos: ["0:12", "1:9", "2:3"] } },
        });
        again.say({ op: "replay", id, count: 1 }, message("x/2", "0:13"),
            { op: "live", id, cursor: cursorOf("0:14") }, message("x/2", "0:15"));
        assert.deepEqual(seen, ["0:11", "0:12", "0:13", "0:15"]);
        assert.deepEqual(eventsOf("recovered"), [{ filters: ["x/#", "y"], count: 1 }]);
        assert.deepEqual(eventsOf("unrecovered"), []);
        again.cut();
        assert.deepEqual(reconnect().take()[0].start, { after: { epoch, pos: ["0:15"] } });
    });

    test("offsets are compared as the 64 bits that they are", () => {
        const { socket } = liveClient();
        socket.say(message("x/1", "0:9007199254740993"), message("x/1", "1:9"),
            { op: "position", cursor: cursorOf("0:9007199254740992", "1:10") },
            { op: "position", cursor: cursorOf("2:18446744073709551615") });
        socket.cut();
        assert.deepEqual(reconnect().take()[0].start.after.pos,
            ["0:9007199254740993", "1:10", "2:18446744073709551615"]);
    });

    test("a connection that ends before the answers changes nothing", () => {
        const { socket } = liveClient();
        socket.cut();
        newestSocket().onclose({ code: 1006, reason: "" });
        const first = reconnect();
        const [{ start }] = first.take();
        first.cut();
        assert.deepEqual(reconnect().take().map((command) => command.start), [start]);
    });

    test("a replay that was cut goes on after its own cursor", () => {
        const { client, socket } = liveClient();
        const [seen, handler] = notes();
        const after = cursorOf("0:2", "1:1", "7:7");
        client.subscribe("y", handler, { start: { after } });
        const { id, start } = confirm(socket, { cursor: after, recovered: true });
        assert.deepEqual(start, { after });
        socket.say({ op: "replay", id, count: 3 }, message("y", "0:5"), message("y", "1:2"));
        socket.cut();
        const again = reconnect();
        assert.deepEqual(again.take().map((command) => [command.filters, command.start.after.pos]),
            [[["x/#"], ["0:10"]], [["y"], ["0:5", "1:2", "7:7"]]]);
        assert.deepEqual(seen, ["0:5", "1:2"]);
    });

    test("`last` that was cut is asked for again, without showing anything twice", () => {
        const { client, socket, eventsOf } = openClient();
        const [seen, handler] = notes();
        client.subscribe("y", handler, { start: { last: 3 } });
        const { id } = confirm(socket, { cursor: cursorOf("0:9") });
        socket.say({ op: "replay", id, count: 3 }, message("y", "0:7"), message("y", "0:8"));
        socket.cut();
        const again = reconnect();
        const second = confirm(again, { cursor: cursorOf("0:10") });
        assert.deepEqual(second.start, { last: 3 });
        again.say({ op: "replay", id: second.id, count: 3 },
            message("y", "0:8"), message("y", "0:9"), message("y", "0:10"),
            { op: "live", id: second.id, cursor: cursorOf("0:10") });
        assert.deepEqual(seen, ["0:7", "0:8", "0:9", "0:10"]);
        assert.deepEqual(eventsOf("recovered"), []);
    });

    test("`last` from another epoch shows everything: positions mean nothing there", () => {
        const { client, socket } = openClient();
        const [seen, handler] = notes();
        client.subscribe("y", handler, { start: { last: 3 } });
        const { id } = confirm(socket);
        socket.say({ op: "replay", id, count: 2 }, message("y", "0:7"));
        socket.cut();
        const again = reconnect({ epoch: "e2" });
        const second = confirm(again);
        again.say({ op: "replay", id: second.id, count: 1 }, message("y", "0:1"));
        assert.deepEqual(seen, ["0:7", "0:1"]);
    });

    test("and so it does with what a live filter brought", () => {
        const { client, socket } = liveClient();
        const [seen, handler] = notes();
        client.subscribe("x/1", handler, { start: { last: 3 } });
        confirm(socket);
        socket.say(message("x/1", "0:11", "old"));
        socket.cut();
        const again = reconnect({ epoch: "e2" });
        const [, { id }] = again.take();
        again.say({ op: "subscribed", id, cursor: { epoch: "e2", pos: [] }, recoverable: true },
            { op: "replay", id, count: 1 }, message("x/1", "0:11", "new"));
        assert.deepEqual(seen, ["old", "new"]);
    });

    test("what a live filter brought during a replay is not repeated by the next one", () => {
        const { client, socket } = liveClient();
        const [seen, handler] = notes();
        client.subscribe(["x/1", "y"], handler, { start: { after: cursorOf("0:4") } });
        const { id } = confirm(socket, { cursor: cursorOf("0:4"), recovered: true });
        socket.say(message("x/1", "0:11"), { op: "replay", id, count: 1 }, message("y", "0:5"));
        socket.cut();
        const again = reconnect();
        const [live, cut] = again.take();
        again.say({ ...recovered, id: live.id, cursor: cursorOf("0:11") },
            { op: "live", id: live.id, cursor: cursorOf("0:12") },
            { ...recovered, id: cut.id, cursor: cursorOf("0:5") },
            { op: "replay", id: cut.id, count: 3 },
            message("y", "0:6"), message("x/1", "0:11"), message("y", "0:12"));
        assert.deepEqual(cut.start.after.pos, ["0:5"]);
        assert.deepEqual(seen, ["0:11", "0:5", "0:6", "0:12"]);
    });

    test("a replay that waits for its turn gets nothing of what others get", () => {
        const { client, socket } = liveClient();
        const [seen, handler] = notes();
        client.subscribe("x/1", handler, { start: { after: cursorOf("0:4") } });
        confirm(socket, { cursor: cursorOf("0:4"), recovered: true });
        socket.cut();
        const again = reconnect();
        const [live, cut] = again.take();
        again.say({ ...recovered, id: live.id, cursor: cursorOf("0:10") },
            { op: "live", id: live.id, cursor: cursorOf("0:10") }, message("x/1", "0:11"),
            { ...recovered, id: cut.id, cursor: cursorOf("0:4") },
            { op: "replay", id: cut.id, count: 2 }, message("x/1", "0:9"), message("x/1", "0:11"));
        assert.deepEqual(seen, ["0:9", "0:11"]);
    });

    test("another epoch is told, and the old positions are forgotten", () => {
        const { socket, eventsOf, seen } = liveClient();
        socket.cut();
        const again = reconnect({ epoch: "e2" });
        const { id, start } = confirm(again, {
            cursor: { epoch: "e2", pos: ["0:1"] },
            recovered: false, code: "epoch_changed", reason: "r",
        });
        assert.equal(start.after.epoch, epoch);
        assert.deepEqual(eventsOf("unrecovered"),
            [{ filters: ["x/#"], code: "epoch_changed", reason: "r" }]);
        again.say({ op: "live", id, cursor: { epoch: "e2", pos: ["0:1"] } }, message("x/1", "0:2"));
        assert.deepEqual(seen, ["0:2"]);
        assert.deepEqual(eventsOf("recovered"), []);
        again.cut();
        const [command] = reconnect({ epoch: "e2" }).take();
        assert.deepEqual(command.start.after, { epoch: "e2", pos: ["0:2"] });
    });

    test("a resume over topics without history is not called recovered", () => {
        const { socket, eventsOf } = liveClient();
        socket.cut();
        const again = reconnect();
        const { id } = confirm(again, { recovered: true, recoverable: false });
        again.say({ op: "live", id, cursor: cursorOf() });
        assert.deepEqual(eventsOf("unrecovered").map(({ code }) => code), ["no_history"]);
        assert.deepEqual(eventsOf("recovered"), []);
    });

    test("a gap is told, and what it is in is not called recovered", () => {
        const { socket, eventsOf } = liveClient();
        socket.cut();
        const again = reconnect();
        const { id } = confirm(again, { recovered: true });
        again.say({ op: "gap", id, filter: "x/#", topic: null, missed: 3, code: "evicted" },
            { op: "live", id, cursor: cursorOf() });
        const gap = { filter: "x/#", topic: null, missed: 3, code: "evicted" };
        assert.deepEqual(eventsOf("gap"), [gap]);
        assert.deepEqual(eventsOf("recovered"), []);
    });

    test("a count of announced messages does not outlive its connection", () => {
        const { client, socket, seen } = liveClient();
        client.subscribe("y", () => {}, { start: { last: 9 } });
        socket.say({ op: "replay", id: confirm(socket).id, count: 5 });
        socket.cut();
        const again = reconnect();
        const [live] = again.take();
        again.say({ ...recovered, id: live.id, cursor: cursorOf() },
            { op: "live", id: live.id, cursor: cursorOf() }, message("x/1", "0:11"));
        assert.deepEqual(seen, ["0:11"]);
    });

    test("more live filters than a frame holds come back in several commands", () => {
        const { client, socket } = openClient();
        const filters = Array.from({ length: 200 }, (_, index) => `${index}/${"x".repeat(500)}`);
        for (const filter of filters) {
            client.subscribe(filter, () => {});
            confirm(socket, { cursor: cursorOf("0:3") });
        }
        socket.cut();
        const commands = reconnect().take();
        assert.equal(commands.length > 1, true);
        assert.deepEqual(commands.flatMap((command) => command.filters), filters);
        for (const command of commands) {
            assert.equal(JSON.stringify(command).length <= 65_536, true);
            assert.deepEqual(command.start, { after: cursorOf("0:3") });
        }
    });

    test("more live filters than a command takes come back in several commands", () => {
        const { client, socket } = openClient();
        const filters = Array.from({ length: 1_024 }, (_, index) => `${index}`);
        for (const filter of filters) {
            client.subscribe(filter, () => {});
            confirm(socket, { cursor: cursorOf("0:3") });
        }
        socket.cut();
        const commands = reconnect().take();
        assert.deepEqual(commands.map((command) => command.filters.length), [1_000, 24]);
        assert.deepEqual(commands.flatMap((command) => command.filters), filters);
    });

    test("a resume that is refused is told, and ends those subscriptions", async () => {
        const { socket, eventsOf } = liveClient();
        socket.cut();
        const again = reconnect();
        const [{ id }] = again.take();
        again.say({ op: "error", id, code: "too_many_subscriptions", reason: "" });
        assert.equal(eventsOf("error")[0].code, "too_many_subscriptions");
        await settle();
        again.cut();
        assert.deepEqual(reconnect().take(), []);
    });
});

describe("a subscription's cursor", () => {
    test("is its own until it is live, then the shared one, then the last one", () => {
        const { client, socket, subscription } = liveClient();
        const one = client.subscribe("y", () => {}, { start: { after: cursorOf("0:2") } });
        assert.deepEqual(one.cursor, cursorOf("0:2"));
        const { id } = confirm(socket, { cursor: cursorOf("0:2"), recovered: true });
        socket.say({ op: "replay", id, count: 1 }, message("y", "0:4"));
        assert.deepEqual(one.cursor, cursorOf("0:4"));
        assert.deepEqual(subscription.cursor, cursorOf("0:10"));
        socket.say({ op: "live", id, cursor: cursorOf("0:12") });
        assert.deepEqual(one.cursor, cursorOf("0:12"));
        one.unsubscribe();
        socket.say(message("x/1", "0:13"));
        assert.deepEqual(one.cursor, cursorOf("0:12"));
        assert.deepEqual(subscription.cursor, cursorOf("0:13"));
        socket.cut();
        assert.deepEqual(subscription.cursor, cursorOf("0:13"));
    });

    test("is none where there is nothing to resume from", () => {
        const { client, socket } = openClient();
        assert.equal(client.subscribe("x", () => {}).cursor, null);
        const last = client.subscribe("y", () => {}, { start: { last: 1 } });
        confirm(socket);
        assert.equal(last.cursor, null);
    });
});
