// fanfare.js at a broker that limits how fast a client may ask: it keeps below the rate, comes
// again when it is refused, and keeps the order.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
    clock, confirm, installFakePage, newClient, newestSocket, openClient, random, reconnect, settle,
} from "./fake_page.mjs";

installFakePage();

const answer = (socket, id) => socket.say({ op: "published", id });
const refuse = (socket, id, retry_ms) =>
    socket.say({ op: "error", id, code: "rate_limited", reason: "why", retry_ms });
const dataOf = (commands) => commands.map((command) => command.data);
const publishMany = (client, first, last) => {
    const promises = [];
    for (let number = first; number <= last; ++number) promises.push(client.publish("t", number));
    return promises;
};

describe("the rate that the broker tells", () => {
    test("lets half of a burst pass, and then one at a time", () => {
        const { client, socket } = openClient({}, { max_publishes_per_second: 10 });
        publishMany(client, 1, 8);
        assert.deepEqual(dataOf(socket.take()), [1, 2, 3, 4, 5]);
        clock.advance(99);
        assert.deepEqual(socket.take(), []);
        clock.advance(1);
        assert.deepEqual(dataOf(socket.take()), [6]);
        clock.advance(200);
        assert.deepEqual(dataOf(socket.take()), [7, 8]);
        clock.advance(10_000);
        publishMany(client, 9, 14);
        assert.deepEqual(dataOf(socket.take()), [9, 10, 11, 12, 13]);
    });

    test("is the lower one of commands and publishes", () => {
        const rates = { max_commands_per_second: 2, max_publishes_per_second: 100 };
        const { client, socket } = openClient({}, rates);
        publishMany(client, 1, 2);
        assert.deepEqual(dataOf(socket.take()), [1]);
        clock.advance(500);
        assert.deepEqual(dataOf(socket.take()), [2]);
    });

    test("holds for what waited for the connection too", () => {
        const { client } = newClient();
        publishMany(client, 1, 3);
        const socket = newestSocket().welcome({ max_publishes_per_second: 4 });
        assert.deepEqual(dataOf(socket.take()), [1, 2]);
        clock.advance(250);
        assert.deepEqual(dataOf(socket.take()), [3]);
    });

    test("makes later ones wait in the queue, and the queue has an end", async () => {
        const { client, socket } = openClient({ queueMax: 2 }, { max_publishes_per_second: 1 });
        publishMany(client, 1, 3);
        await assert.rejects(client.publish("t", 4), { code: "queue_full" });
        assert.deepEqual(dataOf(socket.take()), [1]);
        clock.advance(1_000);
        client.publish("t", 5);
        assert.deepEqual(dataOf(socket.take()), [2]);
        clock.advance(2_000);
        assert.deepEqual(dataOf(socket.take()), [3, 5]);
    });

    test("puts publishes into a series, but not reads, and only where there is a rate", () => {
        const { client, socket } = openClient({}, { max_publishes_per_second: 10 });
        client.publish("t", 1);
        client.history("t");
        assert.deepEqual(socket.take().map(({ series }) => series), [1, undefined]);
        const other = openClient();
        other.client.publish("t", 1);
        assert.equal("series" in other.socket.take()[0], false);
    });
});

describe("a refusal for the rate", () => {
    test("holds all back until everything is answered and the time is up", async () => {
        const { client, socket } = openClient({}, { max_publishes_per_second: 100 });
        const promises = publishMany(client, 1, 4);
        const sent = socket.take();
        answer(socket, sent[0].id);
        refuse(socket, sent[1].id, 200);
        refuse(socket, sent[2].id, 1);
        promises.push(client.publish("t", 5));
        clock.advance(300);
        assert.deepEqual(socket.take(), [], "one is not answered yet");
        refuse(socket, sent[3].id, 1);
        const again = socket.take();
        assert.deepEqual(dataOf(again), [2, 3, 4, 5]);
        assert.deepEqual(again.map(({ series }) => series), [2, 2, 2, 2]);
        for (const { id } of again) answer(socket, id);
        await Promise.all(promises);
    });

    test("is waited for as long as it says", () => {
        const { client, socket } = openClient({}, { max_publishes_per_second: 100 });
        client.publish("t", 1);
        const [{ key, id }] = socket.take();
        client.publish("t", 2);
        refuse(socket, id, 500);
        refuse(socket, socket.take()[0].id, 1);
        clock.advance(499);
        assert.deepEqual(socket.take(), []);
        clock.advance(1);
        assert.deepEqual(socket.take().map((command) => [command.key, command.id]), [[key, id]]);
        clock.advance(10);
        assert.deepEqual(dataOf(socket.take()), [2], "the broker has no room for a burst");
    });

    test("without a rate and a time is repeated after a random one, without a series", () => {
        random.value = 0.5;
        const { client, socket } = openClient();
        publishMany(client, 1, 2);
        for (const { id } of socket.take()) refuse(socket, id);
        clock.advance(999);
        assert.deepEqual(socket.take(), []);
        clock.advance(1);
        const [again] = socket.take();
        assert.deepEqual([again.data, again.series], [1, undefined]);
        clock.advance(1_000);
        assert.deepEqual(dataOf(socket.take()), [2], "at the pace that it had");
    });

    test("that does not end rejects in the end, and the next one goes on", async () => {
        const { client, socket } = openClient({ refusedMaxMs: 5_000 },
            { max_publishes_per_second: 1 });
        const published = client.publish("t", 1);
        const next = client.publish("t", 2);
        let refusalsCount = 0;
        for (let second = 0; second <= 6; ++second) {
            for (const { id, data } of socket.take()) {
                if (data === 1) refuse(socket, id, 1_000);
                else answer(socket, id);
                refusalsCount += data === 1 ? 1 : 0;
            }
            clock.advance(1_000);
        }
        await assert.rejects(published, { code: "rate_limited", reason: "why" });
        assert.equal(refusalsCount, 7);
        for (const { id } of socket.take()) answer(socket, id);
        await next;
    });

    test("is known to have taken nothing, also when the connection is lost", async () => {
        const { client, socket } = openClient({}, { max_publishes_per_second: 100 });
        const published = client.publish("t", 1, { key: null });
        refuse(socket, socket.take()[0].id, 500);
        socket.cut();
        const again = reconnect();
        const [sent] = again.take();
        assert.equal(sent.data, 1);
        answer(again, sent.id);
        await published;
    });

    test("of a subscription is repeated", async () => {
        random.value = 0;
        const { client, socket } = openClient();
        const subscription = client.subscribe("a", () => {});
        const [sent] = socket.take();
        refuse(socket, sent.id, 300);
        clock.advance(300);
        assert.deepEqual(socket.take(), [sent]);
        socket.say({ op: "subscribed", id: sent.id, cursor: { epoch: "e1", pos: [] },
            recoverable: true });
        await subscription.ready;
    });

    test("of a subscription that was given up meanwhile is not", async () => {
        const { client, socket } = openClient();
        const subscription = client.subscribe("a", () => {});
        const [sent] = socket.take();
        refuse(socket, sent.id, 300);
        subscription.unsubscribe();
        socket.take();
        clock.advance(1_000);
        assert.deepEqual(socket.take(), []);
        await assert.rejects(subscription.ready, { code: "unsubscribed" });
    });

    test("of a subscription is not repeated on a connection that has asked by itself", () => {
        const { client, socket } = openClient();
        client.subscribe("a", () => {});
        refuse(socket, socket.take()[0].id, 5_000);
        socket.cut();
        const again = reconnect();
        assert.deepEqual(again.take().map(({ op }) => op), ["subscribe"]);
        clock.advance(10_000);
        assert.deepEqual(again.take(), []);
        client.close();
    });

    test("of a subscription is not repeated before the next connection is open", () => {
        const { client, socket } = openClient();
        client.subscribe("a", () => {});
        refuse(socket, socket.take()[0].id, 5_000);
        socket.cut();
        clock.runNext(); // connecting
        clock.advance(9_000);
        assert.deepEqual(newestSocket().take(), []);
        assert.deepEqual(newestSocket().welcome().take().map(({ op }) => op), ["subscribe"]);
        client.close();
    });

    // A client that has unsubscribed from "a", and its unsubscribe command.
    const unsubscribed = (options) => {
        const { client, socket, eventsOf } = openClient(options);
        const subscription = client.subscribe("a", () => {});
        confirm(socket);
        subscription.unsubscribe();
        const [{ op, id, filter }] = socket.take();
        assert.deepEqual([op, filter], ["unsubscribe", "a"]);
        return { client, socket, eventsOf, id };
    };

    test("of an unsubscribe is repeated", () => {
        random.value = 0;
        const { socket, eventsOf, id } = unsubscribed();
        refuse(socket, id, 300);
        clock.advance(299);
        assert.deepEqual(socket.take(), []);
        clock.advance(1);
        const [again] = socket.take();
        assert.deepEqual([again.op, again.filter], ["unsubscribe", "a"]);
        socket.say({ op: "unsubscribed", id: again.id });
        refuse(socket, again.id, 300); // answered already
        clock.advance(1_000);
        assert.deepEqual(socket.take(), []);
        assert.deepEqual(eventsOf("error"), []);
    });

    test("of an unsubscribe is forgotten when the filter is wanted again", () => {
        const { client, socket, id } = unsubscribed();
        refuse(socket, id, 300);
        client.subscribe("a", () => {});
        confirm(socket);
        clock.advance(10_000);
        assert.deepEqual(socket.take(), []);
    });

    test("of an unsubscribe is forgotten with the connection", () => {
        const { client, socket, id } = unsubscribed();
        refuse(socket, id, 20_000);
        socket.cut();
        const again = reconnect();
        clock.advance(10_000);
        again.say({ op: "heartbeat" });
        clock.advance(30_000);
        assert.deepEqual(again.take().filter(({ op }) => op === "unsubscribe"), []);
        client.close();
    });

    test("leaves no timer behind when the client is closed, or the connection lost", () => {
        for (const [end, timersCount] of [["close", 0], ["cut", 1]]) {
            const { client, socket, id } = unsubscribed();
            refuse(socket, id, 20_000);
            client.subscribe("b", () => {});
            refuse(socket, socket.take().pop().id, 20_000);
            if (end === "close") client.close();
            else socket.cut();
            assert.equal(clock.timers.size, timersCount, end);
        }
    });

    test("of an unsubscribe that does not end is told in the end", () => {
        random.value = 0;
        const { socket, eventsOf, id } = unsubscribed({ refusedMaxMs: 5_000 });
        refuse(socket, id, 1_000);
        for (let second = 1; second <= 6; ++second) {
            assert.deepEqual(eventsOf("error"), []);
            clock.advance(1_000);
            refuse(socket, socket.take()[0].id, 1_000);
        }
        assert.deepEqual(eventsOf("error").map(({ code }) => code), ["rate_limited"]);
        clock.advance(10_000);
        assert.deepEqual(socket.take(), []);
    });

    test("of an unsubscribe for another reason is none that matters", () => {
        const { socket, eventsOf, id } = unsubscribed();
        socket.say({ op: "error", id, code: "not_subscribed", reason: "" });
        clock.advance(10_000);
        assert.deepEqual(socket.take(), []);
        assert.deepEqual(eventsOf("error"), []);
    });

    test("for good is one for good", async () => {
        const { client, socket } = openClient({}, { max_publishes_per_second: 100 });
        const published = publishMany(client, 1, 2);
        const sent = socket.take();
        refuse(socket, sent[0].id, 100);
        socket.say({ op: "error", id: sent[1].id, code: "invalid_topic", reason: "" });
        await assert.rejects(published[1], { code: "invalid_topic" });
        clock.advance(100);
        assert.deepEqual(dataOf(socket.take()), [1]);
        client.close();
        await assert.rejects(published[0], { code: "outcome_unknown" });
        await settle();
    });
});
