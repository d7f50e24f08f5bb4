// Publishing with fanfare.js, and reading history: what is repeated, what is refused, and when.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
    clock, cursorOf, installFakePage, newClient, newestSocket, openClient, random, reconnect,
    settle,
} from "./fake_page.mjs";

installFakePage();

const answer = (socket, id, members = {}) => socket.say({ op: "published", id, ...members });

describe("publish", () => {
    test("is fulfilled with the place in the order", async () => {
        const { client, socket } = openClient();
        const published = client.publish("t", { a: 1 }, { key: "k" });
        const [{ id, ...command }] = socket.take();
        assert.deepEqual(command, { op: "publish", topic: "t", data: { a: 1 }, key: "k" });
        answer(socket, id, { pos: "5:7", duplicate: true });
        assert.deepEqual(await published, { pos: "5:7", duplicate: true });
        const other = client.publish("t", null);
        answer(socket, socket.take()[0].id);
        assert.deepEqual(await other, { pos: undefined, duplicate: false });
    });

    test("has a key of its own unless it has none or another", () => {
        random.value = 0.123456789;
        const { client, socket } = openClient();
        for (const key of [undefined, undefined, null, "mine"]) client.publish("t", 1, { key });
        const keys = socket.take().map((command) => command.key);
        assert.match(keys[0], /^.{8,64}$/);
        assert.notEqual(keys[0], keys[1]);
        assert.deepEqual(keys.slice(2), [undefined, "mine"]);
    });

    test("carries JSON, text and bytes, and whether it comes back", () => {
        const { client, socket } = openClient();
        const bytes = Uint8Array.of(9, 0, 1, 254, 255);
        client.publish("t", [1, null], { key: null });
        client.publish("t", "ü", { key: null });
        client.publish("t", "ü", { key: null, text: true });
        client.publish("t", bytes.subarray(1), { key: null, echo: false });
        client.publish("t", bytes.buffer, { key: null });
        assert.deepEqual(socket.take().map(({ op, topic, id, ...rest }) => rest), [
            { data: [1, null] }, { data: "ü" }, { text: "ü" }, { base64: "AAH+/w==", echo: false },
            { base64: "CQAB/v8=" },
        ]);
    });

    test("what cannot be sent is refused here", async () => {
        const { client, socket } = openClient({}, { max_message_bytes: 1_000 });
        const cycle = {};
        cycle.self = cycle;
        await assert.rejects(client.publish("t", undefined), TypeError);
        await assert.rejects(client.publish("t", () => {}), TypeError);
        await assert.rejects(client.publish("t", cycle), TypeError);
        await assert.rejects(client.publish("t", 1n), TypeError);
        await assert.rejects(client.publish("t", "\ud83d"), { code: "invalid_payload" });
        await assert.rejects(client.publish("t", "\\\ud83d"), { code: "invalid_payload" });
        await assert.rejects(client.publish("t", "ü".repeat(500)), { code: "too_large" });
        assert.deepEqual(socket.take(), []);
        client.publish("t", ["🎺", "\\ud83d", "\\\\ud83d", "x".repeat(800)]);
        assert.equal(socket.take().length, 1);
        await settle();
    });

    test("data may be nested as deep as the broker takes it, and not deeper", async () => {
        const { client, socket } = openClient();
        const nested = (depth) => JSON.parse("[".repeat(depth) + "]".repeat(depth));
        // The command around it is the first of 64 levels; brackets in a string are none.
        client.publish("t", nested(63), { key: null });
        client.publish("t", ["[{".repeat(100), '\\"[[', ...Array(100).fill([{}])], { key: null });
        assert.equal(socket.take().length, 2);
        await assert.rejects(client.publish("t", nested(64)), { code: "invalid_payload" });
        await assert.rejects(client.publish("t", { a: nested(63) }), { code: "invalid_payload" });
        assert.deepEqual(socket.take(), []);
    });

    test("a frame may be as large as the broker says, to the byte", async () => {
        const { client, socket } = openClient();
        const measure = JSON.stringify({ op: "publish", topic: "t", text: "", id: 1 }).length;
        const largest = "x".repeat(65_536 - measure);
        client.publish("t", largest, { key: null, text: true });
        assert.equal(JSON.stringify(socket.take()[0]).length, 65_536);
        await assert.rejects(client.publish("t", `${largest}x`, { key: null, text: true }),
            { code: "too_large" });
    });

    test("is rejected with the broker's reason", async () => {
        const { client, socket } = openClient();
        const published = client.publish("$SYS", 1);
        socket.say({ op: "error", id: socket.take()[0].id, code: "forbidden", reason: "why" });
        await assert.rejects(published, { name: "FanfareError", code: "forbidden", reason: "why" });
    });
});

describe("offline", () => {
    test("publishes wait, as they were, in their order, up to the limit", async () => {
        const { client } = newClient({ queueMax: 2 });
        const data = { count: 1 };
        client.publish("t", data);
        data.count = 99;
        client.publish("t", 2);
        await assert.rejects(client.publish("t", 3), { code: "queue_full" });
        const socket = newestSocket().welcome();
        const sent = socket.take();
        assert.deepEqual(sent.map((command) => command.data), [{ count: 1 }, 2]);
        for (const number of [3, 4, 5]) client.publish("t", number);
        assert.equal(socket.take().length, 3);
    });

    test("the limit is a hundred unless told otherwise", async () => {
        const { client } = newClient();
        for (let count = 0; count < 100; ++count) client.publish("t", count);
        await assert.rejects(client.publish("t", 100), { code: "queue_full" });
    });

    test("what is too large is refused when the limit is known", async () => {
        const { client } = newClient();
        const published = client.publish("t", "x".repeat(1_000));
        newestSocket().welcome({ max_message_bytes: 500 });
        await assert.rejects(published, { code: "too_large" });
    });
});

describe("a connection that is lost", () => {
    test("publishes without an answer are repeated as they were, before later ones", async () => {
        const { client, socket } = openClient();
        const results = [1, 2].map((number) => client.publish("t", number));
        const sent = socket.take();
        answer(socket, sent[0].id);
        socket.cut();
        client.publish("t", 3);
        const again = reconnect();
        const repeated = again.take();
        assert.deepEqual(repeated[0], sent[1]);
        assert.deepEqual(repeated.map((command) => command.data), [2, 3]);
        answer(again, sent[1].id, { duplicate: true });
        const duplicates = (await Promise.all(results)).map(({ duplicate }) => duplicate);
        assert.deepEqual(duplicates, [false, true]);
    });

    test("without a key nobody can tell, and nothing is repeated", async () => {
        const { client, socket } = openClient();
        const published = client.publish("t", 1, { key: null });
        socket.cut();
        const waiting = client.publish("t", 2, { key: null });
        await assert.rejects(published, { code: "outcome_unknown" });
        const again = reconnect();
        const sent = again.take();
        assert.deepEqual(sent.map((command) => command.data), [2]);
        answer(again, sent[0].id);
        await waiting;
    });

    test("a key that may be forgotten is not relied on: by time", async () => {
        for (const [passedMs, count] of [[49_999, 1], [50_000, 0]]) {
            const { client, socket } = openClient({ repeatWithinMs: 50_000 });
            const published = client.publish("t", 1);
            socket.cut(4200);
            clock.advance(0);
            clock.nowMs += passedMs;
            const [sent] = newestSocket().welcome().take();
            assert.equal(sent === undefined, count === 0);
            if (count === 0) await assert.rejects(published, { code: "outcome_unknown" });
        }
    });

    test("the time counts from the first attempt, also while the machine sleeps", () => {
        const { client, socket } = openClient({ repeatWithinMs: 50_000 });
        client.publish("t", 1).catch(() => {});
        socket.cut(4200);
        clock.advance(0);
        clock.wallOffsetMs += 30_000;
        assert.equal(newestSocket().welcome().take().length, 1);
        newestSocket().cut(4200);
        clock.advance(0);
        clock.wallOffsetMs += 20_000;
        assert.equal(newestSocket().welcome().take().length, 0);
    });

    test("a key that may be forgotten is not relied on: by epoch", async () => {
        const { client, socket } = openClient();
        const sent = client.publish("t", 1);
        socket.cut();
        const waiting = client.publish("t", 2);
        const again = reconnect({ epoch: "e2" });
        assert.deepEqual(again.take().map((command) => command.data), [2]);
        await assert.rejects(sent, { code: "outcome_unknown" });
        client.close();
        await assert.rejects(waiting, { code: "outcome_unknown" });
    });

    test("for good rejects what waits", async () => {
        const { client, socket } = openClient();
        const sent = client.publish("t", 1);
        const read = client.history("t");
        socket.cut(1009);
        await assert.rejects(sent, { code: "outcome_unknown" });
        await assert.rejects(read, { code: "closed" });
        const other = newClient();
        const unsent = other.client.publish("t", 1);
        other.client.close();
        await assert.rejects(unsent, { code: "closed" });
    });
});

describe("history", () => {
    const pageOf = (id, messages, members) => ({
        op: "history", id, topic: "t", messages, more: false,
        cursor: cursorOf(messages[messages.length - 1].pos), ...members,
    });

    test("reads all pages", async () => {
        const { client, socket } = openClient();
        const read = client.history("t", { last: 3 });
        const [first] = socket.take();
        assert.deepEqual(first, { op: "history", topic: "t", last: 3, id: first.id });
        const messages = [{ pos: "5:7", data: 1 }, { pos: "5:9", text: "x" }];
        socket.say(pageOf(first.id, messages, { more: true }));
        await settle();
        const [second] = socket.take();
        assert.deepEqual([second.last, second.after], [undefined, cursorOf("5:9")]);
        socket.say(pageOf(second.id, [{ pos: "5:12", base64: "AA==" }], { recovered: true }));
        assert.deepEqual(await read, {
            messages: [
                { topic: "t", kind: "json", data: 1, replayed: true, pos: "5:7" },
                { topic: "t", kind: "text", data: "x", replayed: true, pos: "5:9" },
                { topic: "t", kind: "bytes", data: Uint8Array.of(0), replayed: true, pos: "5:12" },
            ],
            cursor: cursorOf("5:12"),
            recovered: true,
        });
    });

    test("says when there is a hole between two pages", async () => {
        const { client, socket } = openClient();
        const read = client.history("t", { after: cursorOf("5:1") });
        socket.say(pageOf(socket.take()[0].id, [{ pos: "5:2", data: 1 }],
            { more: true, recovered: true }));
        await settle();
        socket.say(pageOf(socket.take()[0].id, [{ pos: "5:5", data: 1 }],
            { more: true, recovered: false, code: "evicted", reason: "r" }));
        await settle();
        socket.say(pageOf(socket.take()[0].id, [{ pos: "5:6", data: 1 }], { recovered: true }));
        const { recovered, code, messages } = await read;
        assert.deepEqual([recovered, code, messages.length], [false, "evicted", 3]);
    });

    test("is asked again after a lost connection, whatever the epoch", async () => {
        const { client, socket } = openClient();
        const read = client.history("t");
        const sent = socket.take();
        socket.cut();
        const again = reconnect({ epoch: "e2" });
        assert.deepEqual(again.take(), sent);
        again.say({ op: "error", id: sent[0].id, code: "no_history", reason: "" });
        await assert.rejects(read, { code: "no_history" });
    });
});
