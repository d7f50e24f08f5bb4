// fanfare.js and its types say what PROTOCOL.md says. The document's tables are held against the
// broker's by tests/house/documents_test.cc, so the three agree.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { installFakePage, newestSocket, openClient, random } from "./fake_page.mjs";

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const protocol = read("PROTOCOL.md");
const source = read("clients/js/fanfare.js");
const types = read("clients/js/fanfare.d.ts");

installFakePage();

// The rows of a table, each as its cells.
function table(name) {
    const text = protocol.split(`<!-- table: ${name} -->\n`)[1].split("<!-- end -->")[0];
    const rows = text.trim().split("\n").slice(2);
    assert.notEqual(rows.length, 0);
    return rows.map((row) => row.split("|").slice(1, -1).map((cell) => cell.trim()));
}

const codes = (name) => table(name).map(([code]) => code.replaceAll("`", ""));
const opsIn = (text) => [...text.matchAll(/"op":"([a-z]+)"/g)].map(([, op]) => op);
const sorted = (values) => [...new Set(values)].sort();

test("it sends ops that there are", () => {
    const sent = [...source.matchAll(/\bop"?: ?"([a-z]+)"/g)].map(([, op]) => op);
    const known = table("commands").flatMap(([command]) => opsIn(command));
    assert.deepEqual(sorted(sent), sorted(known));
});

test("it handles what the broker sends, and knows what it ignores", () => {
    const handled = [...source.matchAll(/case "([a-z]+)":/g)].map(([, op]) => op);
    // Every object shows that the peer lives, and these say no more.
    const ignored = ["heartbeat", "pong"];
    const told = [
        ...table("commands").flatMap(([, answer]) => opsIn(answer)),
        ...table("objects").flatMap(([object]) => opsIn(object)),
    ];
    assert.deepEqual(sorted([...handled, ...ignored]), sorted(told));
});

for (const [code, name, reconnect] of table("close codes")) {
    test(`it reconnects as the document says after ${code} ${name}: ${reconnect}`, () => {
        random.value = 0.5;
        const { client, eventsOf } = openClient();
        newestSocket().cut(Number(code));
        const { state, retryMs } = eventsOf("state").at(-1);
        assert.equal(client.state, state);
        switch (reconnect) {
            case "no": assert.equal(state, "closed"); break;
            case "at once": assert.deepEqual([state, retryMs], ["connecting", 0]); break;
            case "with jitter":
                assert.deepEqual([state, retryMs], ["connecting", 1_000]);
                break;
            // There was no goodbye: "or after some seconds".
            case "after retry_ms":
                assert.deepEqual([state, retryMs], ["connecting", 3_500]);
                break;
            default: assert.fail(`fanfare.js knows nothing of "${reconnect}"`);
        }
    });
}

test("its types have all recovery codes", () => {
    const unions = [...types.matchAll(/code\??:((?:\s*\|?\s*"[a-z_]+")+)/g)];
    assert.notEqual(unions.length, 0);
    for (const [, union] of unions) {
        const named = [...union.matchAll(/"([a-z_]+)"/g)].map(([, code]) => code);
        // The client's own: the broker says recoverable:false instead.
        const ours = named.filter((code) => code !== "no_history");
        assert.deepEqual(sorted(ours), sorted(codes("recovery codes")));
    }
});

test("codes of gaps and of errors pass through, whatever they are", () => {
    for (const code of codes("gap codes")) {
        const { client, socket, eventsOf } = openClient();
        client.subscribe("a", () => {});
        socket.say({ op: "gap", filter: "a", topic: "a", missed: 17, code });
        assert.deepEqual(eventsOf("gap"), [{ filter: "a", topic: "a", missed: 17, code }]);
    }
    for (const code of codes("error codes")) {
        const { socket, eventsOf } = openClient();
        socket.say({ op: "error", code, reason: "why" });
        assert.equal(eventsOf("error")[0].code, code);
    }
});
