// fanfare.js at work, as test_fanfare_js.py wants it: node fanfare_js.mjs URL
//
// Subscribes to t/#, and publishes 0, 1, 2, … to seven topics in turn, ten at a time, until a line
// comes on standard input. Prints one JSON object per line: the events, and at the end, when all
// that was published has come back or nothing comes any more, what was published and what arrived.

import { createRequire } from "node:module";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Fanfare } from "../../../clients/js/fanfare.js";

const WebSocket = createRequire(import.meta.url)("ws");
const topicsCount = 7;
const atOnceCount = 10;
const silenceMs = 4_000;

const print = (line) => console.log(JSON.stringify(line));
const options = { WebSocket, backoffMinMs: 20, backoffMaxMs: 200 };
const subscriber = new Fanfare(process.argv[2], options);
const publisher = new Fanfare(process.argv[2], options);
const received = [];
let receivedMs = 0;
const refused = [];
let publishedCount = 0;
let isStopping = false;

for (const event of ["state", "recovered", "unrecovered", "gap", "error"]) {
    subscriber.on(event, (detail) => print({ event, ...detail }));
}
once(process.stdin, "data").then(() => { isStopping = true; });

await subscriber.subscribe("t/#", (message) => {
    received.push(message.data);
    receivedMs = performance.now();
}).ready;
print({ event: "subscribed" });
while (!isStopping) {
    const batch = Array.from({ length: atOnceCount }, (_, index) => publishedCount + index);
    publishedCount += atOnceCount;
    const results = await Promise.allSettled(
        batch.map((number) => publisher.publish(`t/${number % topicsCount}`, number)));
    for (const [index, result] of results.entries()) {
        if (result.status === "rejected") refused.push([batch[index], result.reason.code]);
    }
    await sleep(5);
}
const isSilent = () => performance.now() - receivedMs > silenceMs;
while (received.length < publishedCount - refused.length && !isSilent()) await sleep(20);
await sleep(200); // for what comes twice
const { messages } = await subscriber.history("t/0", { last: 3 });
print({ event: "end", publishedCount, refused, received, history: messages });
subscriber.close();
publisher.close();
process.exit(0);
