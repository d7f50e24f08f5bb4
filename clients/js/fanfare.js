// The client of the Fanfare broker for browsers and Node.js: one socket, kept open; subscriptions
// that come back exactly where they stood; publishes that are repeated without being doubled.
//
//     const fanfare = new Fanfare("ws://localhost:7788/ws");
//     fanfare.subscribe("news/#", (message) => console.log(message.topic, message.data));
//     await fanfare.publish("news/uk", { hello: "world" });
//
// Why one file: a page takes it from the broker with one import, and nothing has to be built.
//
// The wire is PROTOCOL.md's fanfare.v1. Invariants:
//  1. There is never more than one socket that is listened to.
//  2. A handler gets each message once. What was missed while the connection was down follows after
//     the reconnect, or an event says that something is missing: "unrecovered" or "gap".
//  3. A promise of publish() is fulfilled when the message has its place in the order, and rejected
//     with `outcome_unknown` when nobody can tell; then the message is never sent again.
//  4. Publishes keep their order and the broker's rates: what is refused for its rate is sent
//     again, before all that came later.

const protocolName = "fanfare.v1";
const probeMsMax = 5_000;
const commandFiltersMax = 1_000;
const depthMax = 64;
// Close codes after which coming back makes no sense: the same would happen again.
const finalCloseCodes = new Set([1000, 1002, 1003, 1007, 1008, 1009]);
// Half a surrogate pair, as JSON.stringify writes it. The broker refuses the whole frame for it,
// and cannot say which command that was.
const loneSurrogate = /[^\\](?:\\\\)*\\ud[89a-f]/;

// What a promise is rejected with, and what the event "error" carries. `code` is one of the
// broker's error codes, or closed, outcome_unknown, queue_full, too_large, unsubscribed.
export class FanfareError extends Error {
    constructor(code, reason) {
        super(`${code}: ${reason}`);
        this.name = "FanfareError";
        this.code = code;
        this.reason = reason;
    }
}

// Whether objects and arrays are nested deeper than the broker takes them.
function isTooDeep(json) {
    let depth = 0;
    let isString = false;
    for (const [token] of json.matchAll(/\\.|["[\]{}]/g)) {
        if (token === '"') isString = !isString;
        else if (!isString) depth += token === "[" || token === "{" ? 1 : -1;
        if (depth > depthMax) return true;
    }
    return false;
}

// Whether a topic matches a filter; both are split at "/".
function levelsMatch(wanted, levels) {
    if (levels[0][0] === "$" && (wanted[0] === "+" || wanted[0] === "#")) return false;
    for (let depth = 0; depth < wanted.length; ++depth) {
        if (wanted[depth] === "#") return true;
        if (depth === levels.length) return false;
        if (wanted[depth] !== "+" && wanted[depth] !== levels[depth]) return false;
    }
    return wanted.length === levels.length;
}

export function matches(filter, topic) {
    return levelsMatch(filter.split("/"), topic.split("/"));
}

// How far a stream has come in each partition. Offsets stay the decimal strings that they are on
// the wire: they have 64 bits, and without leading zeros the longer of two is the larger.
class Cursor {
    offsets = new Map();

    constructor(epoch, positions = []) {
        this.epoch = epoch;
        this.raise(positions);
    }

    raise(positions) {
        for (const position of positions) {
            const [partition, offset] = position.split(":");
            if (!this.covers(position)) this.offsets.set(partition, offset);
        }
    }

    covers(position) {
        const [partition, offset] = position.split(":");
        const reached = this.offsets.get(partition);
        if (reached === undefined) return false;
        if (reached.length !== offset.length) return reached.length > offset.length;
        return reached >= offset;
    }

    toJSON() {
        return { epoch: this.epoch, pos: Array.from(this.offsets, (entry) => entry.join(":")) };
    }
}

// A subscribe command until its subscriptions are live; a connection that is lost before makes it
// another one, with the same object.
class Join {
    own = null; // how far its replay has come; none before `subscribed`
    // Positions that a live filter has brought to its handlers already. Its replay leaves them out
    // on this connection, but not on the next one.
    delivered = new Set();
    replayedCount = 0;
    isRecovered = false;

    constructor(subscribers, start) {
        this.subscribers = new Set(subscribers);
        this.start = start;
        for (const subscriber of subscribers) subscriber.join = this;
    }

    get filters() {
        return [...new Set([...this.subscribers].flatMap((subscriber) => subscriber.filters))];
    }

    // The connection has ended. A `last` is asked for again, and `own` then says what was shown
    // already.
    cut() {
        if (this.own === null || this.start.last !== undefined) return;
        this.start = { after: this.own };
        this.own = null;
    }

    // The broker has lost its positions: the old ones say nothing about what comes.
    forgetPositions() {
        this.own = null;
        this.delivered.clear();
    }

    get cursor() {
        return this.start.last === undefined ? this.own ?? this.start.after ?? null : null;
    }
}

function deferred() {
    const result = {};
    result.promise = new Promise((resolve, reject) => Object.assign(result, { resolve, reject }));
    return result;
}

function bytesOf(base64) {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function base64Of(bytes) {
    return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

// What a handler gets.
function messageOf(topic, frame, isReplayed) {
    const message = { topic, kind: "json", data: frame.data, replayed: isReplayed };
    if ("text" in frame) Object.assign(message, { kind: "text", data: frame.text });
    if ("base64" in frame) Object.assign(message, { kind: "bytes", data: bytesOf(frame.base64) });
    if (frame.pos !== undefined) message.pos = frame.pos;
    return message;
}

function payloadOf(data, isText) {
    if (data instanceof ArrayBuffer) return { base64: base64Of(new Uint8Array(data)) };
    if (ArrayBuffer.isView(data)) {
        return { base64: base64Of(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)) };
    }
    if (isText) return { text: String(data) };
    if (JSON.stringify(data) === undefined) throw new TypeError("JSON cannot express this data");
    return { data };
}

// One user's mistake must neither keep a message from other handlers nor stop the stream; it is
// reported as any error that nobody has caught.
function callSafely(call, argument) {
    try {
        call(argument);
    } catch (error) {
        setTimeout(() => { throw error; });
    }
}

export class Fanfare {
    #url;
    #options;
    #state = "connecting";
    #listeners = new Map(); // an event's name → its listeners
    #socket = null;
    #timer = null; // the one for this state: the wait, the attempt, or the silence
    #attemptsCount = 0; // since the last welcome
    #dueMs = 0; // when the wait for the next attempt is over
    #isToldToWait = false; // by the broker, so nothing shortens the wait
    #welcome = null;
    #goodbye = null;
    #heardMs = 0;
    #isProbing = false;

    #nextId = 1;
    #requests = new Map(); // id → a publish or a history, until it is answered; in their order
    #keyPrefix;

    // How fast requests go out. What the network bunches together must not be refused, so the
    // bursts are half of those that the broker takes.
    #intervalMs = 0;
    #leadMs = 0; // how far sending may be ahead of the pace
    #paceMs = 0; // when the next would be due without a lead
    #series = 1; // after a refused publish the broker takes none of the same series
    #isHeld = false; // something was refused, so nothing goes out
    #heldUntilMs = 0;
    #isStopped = false; // requests wait, and new ones stand behind them
    #flowTimer = null;

    #subscribers = new Set();
    #joins = new Map(); // id → Join
    #leaves = new Map(); // id → an unsubscribe of this connection, until it is answered
    #againTimers = new Set(); // of what this connection has refused for its rate
    #shared = null; // the cursor of all live subscribers
    #replaying = null; // whose messages come next,
    #announcedCount = 0; // and how many

    constructor(url, options = {}) {
        this.#url = url;
        this.#options = {
            WebSocket: globalThis.WebSocket,
            backoffMinMs: 2_000,
            backoffMaxMs: 30_000,
            connectTimeoutMs: 10_000,
            queueMax: 100,
            repeatWithinMs: 240_000, // less than the broker's --idempotency-window
            refusedMaxMs: 60_000,
            ...options,
        };
        if (typeof this.#options.WebSocket !== "function") {
            throw new TypeError("there is no global WebSocket here; pass one as options.WebSocket");
        }
        // Keys must be unique, not secret; the better generators are not in every place where this
        // runs.
        const random = () => Math.random().toString(36).slice(2);
        this.#keyPrefix = `${random()}${random()}`;
        this.#connect();
        globalThis.addEventListener?.("online", this.#wake);
        globalThis.addEventListener?.("pageshow", this.#wake);
        globalThis.document?.addEventListener("visibilitychange", this.#wake);
    }

    get state() {
        return this.#state;
    }

    // Events: state, recovered, unrecovered, gap, error. Answers what takes the listener away
    // again.
    on(name, listener) {
        if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
        this.#listeners.get(name).add(listener);
        return () => this.#listeners.get(name).delete(listener);
    }

    // From `start` on, each message that matches one of the filters goes to the handler, once.
    subscribe(filter, handler, { start } = {}) {
        if (typeof handler !== "function") throw new TypeError("the handler is not a function");
        const filters = [...new Set([filter].flat())];
        const subscriber = {
            filters,
            wanted: filters.map((one) => one.split("/")),
            handler,
            ready: deferred(),
            join: null, // none: it is live
            isJoined: false, // on this connection `subscribed` has come
            lastCursor: null, // after unsubscribe()
        };
        subscriber.ready.promise.catch(() => {}); // the event "error" is there as well
        if (this.#state === "closed") {
            subscriber.ready.reject(new FanfareError("closed", "the client is closed"));
        } else {
            this.#subscribers.add(subscriber);
            this.#addJoin(new Join([subscriber], start ?? "now"));
        }
        const cursor = () => this.#cursorOf(subscriber);
        return {
            filters,
            ready: subscriber.ready.promise,
            get cursor() { return cursor(); },
            unsubscribe: () => this.#leave(subscriber),
        };
    }

    // Publishes JSON, bytes (an ArrayBuffer or a view of one) or, with `text`, a string as text. It
    // waits in a queue while there is no connection. Without a key (null) it is never repeated.
    async publish(topic, data, { key, echo = true, text = false } = {}) {
        const command = { op: "publish", topic, ...payloadOf(data, text) };
        if (!echo) command.echo = false;
        if (key === undefined) key = `${this.#keyPrefix}-${this.#nextId}`;
        if (key !== null) command.key = key;
        const answer = await this.#request(command);
        return { pos: answer.pos, duplicate: answer.duplicate === true };
    }

    // What the broker keeps of a topic, oldest first: the last n messages, or those after a cursor.
    async history(topic, { last, after } = {}) {
        const result = { messages: [], cursor: null };
        let page = { more: true };
        for (let from = { last, after }; page.more; from = { after: page.cursor }) {
            page = await this.#request({ op: "history", topic, ...from });
            for (const frame of page.messages) result.messages.push(messageOf(topic, frame, true));
            // One page that does not follow the one before makes a hole in the whole.
            const { recovered, code, reason } = page;
            if (recovered === false) Object.assign(result, { recovered, code, reason });
            else if (recovered) result.recovered ??= true;
        }
        result.cursor = page.cursor;
        return result;
    }

    // For good: what is not answered yet is rejected, and no handler is called any more.
    close() {
        this.#end(1000, "closed by this side");
    }

    // The connection, from attempt to attempt.

    #connect() {
        const socket = new this.#options.WebSocket(this.#url, protocolName);
        const isCurrent = () => this.#socket === socket;
        socket.onmessage = (event) => { if (isCurrent()) this.#receive(event.data); };
        socket.onclose = (event) => { if (isCurrent()) this.#lost(event.code, event.reason); };
        socket.onerror = () => {}; // a close follows, which says all there is to know
        this.#socket = socket;
        this.#welcome = null;
        this.#goodbye = null;
        this.#arm(this.#options.connectTimeoutMs, () => this.#lost(1006, "no welcome in time"));
    }

    #arm(delayMs, call) {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(call, delayMs);
    }

    // The socket is of no use any more, whether it knows that or not.
    #dropSocket() {
        const socket = this.#socket;
        this.#socket = null;
        this.#leaves.clear();
        for (const timer of this.#againTimers) clearTimeout(timer); // another one asks by itself
        this.#againTimers.clear();
        clearTimeout(this.#timer);
        socket?.close(1000);
    }

    #lost(code, reason) {
        if (finalCloseCodes.has(code) || (code >= 4000 && code <= 4099)) {
            this.#end(code, reason);
            return;
        }
        this.#dropSocket();
        const retryMs = this.#chooseDelayMs(code);
        this.#attemptsCount += 1;
        this.#isProbing = false;
        this.#state = "connecting";
        this.#cutJoins();
        clearTimeout(this.#flowTimer);
        for (const [id, request] of this.#requests) {
            request.isOut = false;
            if (request.sentMs !== null && !request.isRead && request.key === null) {
                this.#reject(id, new FanfareError("outcome_unknown", "lost before its answer"));
            }
        }
        this.#dueMs = performance.now() + retryMs;
        this.#arm(retryMs, () => this.#connect());
        this.#emit("state", { state: "connecting", code, reason, retryMs });
    }

    #chooseDelayMs(code) {
        this.#isToldToWait = this.#goodbye !== null || (code >= 4100 && code <= 4199);
        if (this.#goodbye?.retry_ms >= 0) return this.#goodbye.retry_ms;
        if (this.#isToldToWait) return 2_000 + 3_000 * Math.random();
        if (code >= 4200 && code <= 4299 && this.#attemptsCount === 0) return 0;
        // Full jitter: the whole wait is random, so that a crowd does not come back as one.
        const { backoffMinMs, backoffMaxMs } = this.#options;
        return Math.random() * Math.min(backoffMaxMs, backoffMinMs * 2 ** this.#attemptsCount);
    }

    #end(code, reason) {
        if (this.#state === "closed") return;
        this.#state = "closed";
        this.#dropSocket();
        clearTimeout(this.#flowTimer);
        globalThis.removeEventListener?.("online", this.#wake);
        globalThis.removeEventListener?.("pageshow", this.#wake);
        globalThis.document?.removeEventListener("visibilitychange", this.#wake);
        for (const [id, request] of this.#requests) {
            const code = request.sentMs !== null && !request.isRead ? "outcome_unknown" : "closed";
            this.#reject(id, new FanfareError(code, "the client was closed"));
        }
        for (const subscriber of this.#subscribers) {
            subscriber.isJoined = false;
            subscriber.ready.reject(new FanfareError("closed", "the client was closed"));
        }
        this.#emit("state", { state: "closed", code, reason });
    }

    #opened(welcome) {
        const isOtherEpoch = this.#shared !== null && this.#shared.epoch !== welcome.epoch;
        this.#welcome = welcome;
        this.#attemptsCount = 0;
        this.#state = "open";
        this.#shared = new Cursor(welcome.epoch);
        for (const [id, join] of this.#joins) {
            if (isOtherEpoch) join.forgetPositions();
            this.#sendJoin(id, join);
        }
        this.#intervalMs = 1_000 / this.#rate;
        this.#leadMs = Math.max(0, 500 - this.#intervalMs);
        this.#paceMs = 0; // a new connection has a whole burst
        this.#isHeld = false;
        for (const [id, request] of this.#requests) {
            if (this.#isSafeToSend(request)) continue;
            this.#reject(id, new FanfareError("outcome_unknown", "the key may be forgotten"));
        }
        this.#flow();
        this.#watch();
        this.#emit("state", { state: "open" });
    }

    // Liveness: a script sees no pings, so silence is what it has; and a timer in a hidden tab
    // comes late and may overtake messages that wait. So nobody is given up who was not asked
    // first.

    get #probeMs() {
        return Math.min(probeMsMax, this.#welcome.timeout_ms / 2);
    }

    #watch() {
        const patienceMs = this.#welcome.heartbeat_ms + this.#welcome.timeout_ms - this.#probeMs;
        const silentMs = performance.now() - this.#heardMs;
        if (silentMs >= patienceMs) this.#probe();
        else this.#arm(patienceMs - silentMs, () => this.#watch());
    }

    #probe() {
        this.#isProbing = true;
        this.#send('{"op":"ping"}');
        this.#arm(this.#probeMs, () => {
            if (this.#isProbing) this.#lost(4200, "no sign of life");
            else this.#watch();
        });
    }

    // The page is shown again or the network is back: timers may not have run for hours.
    #wake = () => {
        if (globalThis.document?.visibilityState === "hidden") return;
        if (this.#state === "open") {
            if (!this.#isProbing) this.#probe();
        } else if (this.#state === "connecting" && this.#socket === null) {
            if (!this.#isToldToWait || performance.now() >= this.#dueMs) this.#connect();
        }
    };

    // What goes out.

    // Answers why it was not sent, or null. What the broker would end the connection for, or would
    // answer without an id, does not leave this side.
    #send(text) {
        const bytesMax = this.#welcome.max_message_bytes;
        if (text.length * 3 > bytesMax && new TextEncoder().encode(text).length > bytesMax) {
            return new FanfareError("too_large", `a frame may have ${bytesMax} bytes`);
        }
        if (loneSurrogate.test(text)) {
            return new FanfareError("invalid_payload", "there is half a surrogate pair in it");
        }
        if (isTooDeep(text)) {
            return new FanfareError("invalid_payload", `it is nested deeper than ${depthMax}`);
        }
        this.#socket.send(text);
        return null;
    }

    #request(command) {
        return new Promise((resolve, reject) => {
            if (this.#state === "closed") throw new FanfareError("closed", "the client is closed");
            const { queueMax } = this.#options;
            const isFree = this.#state === "open" && !this.#isStopped;
            if (!isFree && this.#waiting().length >= queueMax) {
                throw new FanfareError("queue_full", `${queueMax} wait already`);
            }
            const id = this.#nextId++;
            // As text, now: the caller may change the object before it is sent, or sent again.
            const text = JSON.stringify({ ...command, id });
            const isRead = command.op === "history";
            const key = command.key ?? null;
            const request = {
                text, resolve, reject, isRead, key, sentMs: null, epoch: null, isOut: false,
            };
            this.#requests.set(id, request);
            if (isFree) this.#flow([[id, request]]);
        });
    }

    #waiting() {
        return [...this.#requests].filter(([, request]) => !request.isOut);
    }

    // Requests per second, as the broker told; a publish is a command too.
    get #rate() {
        const { max_commands_per_second, max_publishes_per_second } = this.#welcome;
        return Math.min(max_commands_per_second ?? Infinity, max_publishes_per_second ?? Infinity);
    }

    // Sends what waits, in its order, as far as the pace allows.
    #flow(waiting = this.#waiting()) {
        clearTimeout(this.#flowTimer);
        this.#isStopped = false;
        for (const [id, request] of waiting) {
            const waitMs = this.#waitMs();
            if (waitMs > 0) {
                this.#isStopped = true;
                if (waitMs < Infinity) {
                    this.#flowTimer = setTimeout(() => this.#flow(), waitMs);
                }
                return;
            }
            if (this.#isHeld) this.#series = this.#series % 1e9 + 1;
            this.#isHeld = false;
            this.#sendRequest(id, request);
        }
    }

    #waitMs() {
        const now = performance.now();
        const paceMs = this.#paceMs - this.#leadMs - now;
        if (!this.#isHeld) return paceMs;
        // What is out stands before what was refused, or is still to be refused.
        if (this.#waiting().length < this.#requests.size) return Infinity;
        return Math.max(paceMs, this.#heldUntilMs - now);
    }

    #sendRequest(id, request) {
        let { text } = request;
        if (this.#rate < Infinity && !request.isRead) {
            text = `${text.slice(0, -1)},"series":${this.#series}}`;
        }
        const error = this.#send(text);
        if (error !== null) {
            this.#reject(id, error);
            return;
        }
        request.isOut = true;
        this.#paceMs = Math.max(this.#paceMs, performance.now()) + this.#intervalMs;
        if (request.sentMs === null) {
            request.sentMs = Date.now(); // performance.now() may stand still in sleep
            request.epoch = this.#welcome.epoch;
        }
    }

    // Refused for the rate: comes again later, but not for ever. Answers whether it does.
    #holdBack(id, retryMs = 2_000 * Math.random()) {
        const one = this.#requests.get(id) ?? this.#joins.get(id) ?? this.#leaves.get(id);
        const now = performance.now();
        one.refusedMs ??= now;
        if (now - one.refusedMs > this.#options.refusedMaxMs) return false;
        if (!this.#requests.has(id)) {
            const again = () => {
                this.#againTimers.delete(timer);
                if (this.#joins.get(id) === one) this.#sendJoin(id, one);
                else if (this.#leaves.delete(id)) this.#release([one.filter], one.refusedMs);
            };
            const othersCount = this.#joins.size + this.#leaves.size;
            const timer = setTimeout(again, retryMs * (1 + Math.random() * othersCount));
            this.#againTimers.add(timer);
            return true;
        }
        one.isOut = false;
        if (one.key === null) one.sentMs = null; // so it was not taken
        if (!this.#isHeld) {
            this.#isHeld = true;
            this.#heldUntilMs = now + retryMs;
            this.#intervalMs ||= retryMs;
            this.#paceMs = this.#heldUntilMs + this.#leadMs; // the broker has no room for more
        }
        this.#flow();
        return true;
    }

    // A publish that was sent before is safe as long as the broker knows its key: for a time, and
    // not longer than its epoch.
    #isSafeToSend(request) {
        if (request.sentMs === null || request.isRead) return true;
        return request.epoch === this.#welcome.epoch &&
            Date.now() - request.sentMs < this.#options.repeatWithinMs;
    }

    #reject(id, error) {
        this.#requests.get(id).reject(error);
        this.#requests.delete(id);
        if (this.#isHeld && this.#state === "open") this.#flow();
    }

    // Subscriptions.

    #addJoin(join) {
        const id = this.#nextId++;
        this.#joins.set(id, join);
        if (this.#state === "open") this.#sendJoin(id, join);
    }

    #sendJoin(id, join) {
        const { filters, start } = join;
        const error = this.#send(JSON.stringify({ op: "subscribe", id, filters, start }));
        // Not from within subscribe(): nobody could have kept what it answers.
        if (error !== null) queueMicrotask(() => this.#refuseJoin(id, error));
    }

    // What was live comes back after the shared cursor, in as many commands as it takes; what was
    // cut comes back by itself.
    #cutJoins() {
        const joins = [...this.#joins];
        this.#joins.clear();
        let group = [];
        let groupBytes = 0;
        let filtersCount = 0;
        const endGroup = () => {
            const after = this.#shared;
            if (group.length > 0) this.#joins.set(this.#nextId++, new Join(group, { after }));
            group = [];
            groupBytes = 0;
            filtersCount = 0;
        };
        for (const subscriber of this.#subscribers) {
            subscriber.isJoined = false;
            if (subscriber.join !== null) continue;
            const bytes = JSON.stringify(subscriber.filters).length * 3;
            const count = subscriber.filters.length;
            const isTooLong = groupBytes + bytes > this.#welcome.max_message_bytes / 2;
            if (isTooLong || filtersCount + count > commandFiltersMax) endGroup();
            group.push(subscriber);
            groupBytes += bytes;
            filtersCount += count;
        }
        endGroup();
        for (const [id, join] of joins) {
            join.cut();
            this.#joins.set(id, join);
        }
        this.#replaying = null;
        this.#announcedCount = 0;
    }

    #leave(subscriber) {
        if (!this.#subscribers.has(subscriber)) return;
        subscriber.lastCursor = this.#cursorOf(subscriber);
        subscriber.ready.reject(new FanfareError("unsubscribed", "given up before the answer"));
        this.#remove(subscriber);
        for (const [id, join] of this.#joins) {
            if (join.subscribers.size === 0) this.#joins.delete(id);
        }
        this.#release(subscriber.filters);
    }

    #remove(subscriber) {
        this.#subscribers.delete(subscriber);
        subscriber.join?.subscribers.delete(subscriber);
    }

    // Unsubscribes from what no other subscriber uses. One by one, because a command with one
    // filter that the broker does not know would change nothing at all. `refusedMs` is when the
    // broker first refused it for its rate.
    #release(filters, refusedMs = null) {
        if (this.#state !== "open") return;
        const used = new Set([...this.#subscribers].flatMap((subscriber) => subscriber.filters));
        for (const filter of filters) {
            if (used.has(filter)) continue;
            const id = this.#nextId++;
            const error = this.#send(JSON.stringify({ op: "unsubscribe", id, filter }));
            if (error === null) this.#leaves.set(id, { filter, refusedMs });
        }
    }

    #refuseJoin(id, error) {
        const join = this.#joins.get(id);
        if (join === undefined) return; // given up meanwhile
        const { filters } = join;
        this.#joins.delete(id);
        for (const subscriber of join.subscribers) {
            this.#remove(subscriber);
            subscriber.ready.reject(error);
        }
        this.#release(filters);
        this.#emit("error", error);
    }

    #cursorOf(subscriber) {
        if (subscriber.lastCursor !== null) return subscriber.lastCursor;
        const cursor = subscriber.join === null ? this.#shared : subscriber.join.cursor;
        return cursor === null ? null : JSON.parse(JSON.stringify(cursor)); // the caller's own
    }

    // What comes in.

    #receive(text) {
        this.#heardMs = performance.now();
        this.#isProbing = false;
        try {
            this.#handle(JSON.parse(text));
        } catch (error) {
            this.#end(1002, `this is not ${protocolName}: ${error.message}`);
        }
    }

    #handle(frame) {
        const join = this.#joins.get(frame.id);
        switch (frame.op) {
            case "welcome": this.#opened(frame); break;
            case "message": this.#deliver(frame); break;
            case "subscribed": if (join) this.#subscribed(join, frame); break;
            case "unsubscribed": this.#leaves.delete(frame.id); break;
            case "replay": [this.#replaying, this.#announcedCount] = [join, frame.count]; break;
            case "live": if (join) this.#goLive(join, frame); break;
            case "position": this.#shared.raise(frame.cursor.pos); break;
            case "gap": this.#gap(join, frame); break;
            case "published":
            case "history": this.#answered(frame); break;
            case "error": this.#refused(frame); break;
            case "goodbye": this.#goodbye = frame; break;
        }
    }

    #subscribed(join, frame) {
        const { op, id, ...answer } = frame;
        for (const subscriber of join.subscribers) {
            subscriber.isJoined = true;
            subscriber.ready.resolve(answer);
        }
        if (join.start === "now") {
            this.#goLive(join, frame);
        } else if (join.start.last !== undefined) {
            join.own ??= new Cursor(this.#welcome.epoch);
        } else {
            join.own = new Cursor(this.#welcome.epoch, frame.cursor.pos);
            join.isRecovered = frame.recovered && frame.recoverable;
            if (join.isRecovered) return;
            this.#emit("unrecovered", {
                filters: join.filters,
                code: frame.code ?? "no_history",
                reason: frame.reason ?? "not every topic that these filters match keeps history",
            });
        }
    }

    #goLive(join, frame) {
        this.#shared.raise(frame.cursor.pos);
        this.#joins.delete(frame.id);
        for (const subscriber of join.subscribers) subscriber.join = null;
        const { filters, replayedCount: count } = join;
        if (join.isRecovered) this.#emit("recovered", { filters, count });
    }

    #gap(join, { filter, topic, missed, code }) {
        if (join) join.isRecovered = false;
        this.#emit("gap", { filter, topic, missed, code });
    }

    // An announced message belongs to the subscription whose replay it is; any other one to all
    // that match.
    #deliver(frame) {
        const isReplayed = this.#announcedCount > 0;
        const join = isReplayed ? this.#replaying : null;
        if (isReplayed) {
            this.#announcedCount -= 1;
            if (!join) return; // given up meanwhile
            const isRepeated = join.own.covers(frame.pos) || join.delivered.delete(frame.pos);
            join.own.raise([frame.pos]);
            if (isRepeated) return;
            join.replayedCount += 1;
        } else if (frame.pos !== undefined) {
            this.#shared.raise([frame.pos]);
        }
        const levels = frame.topic.split("/");
        const message = messageOf(frame.topic, frame, isReplayed);
        for (const subscriber of join ? join.subscribers : this.#subscribers) {
            if (!subscriber.isJoined) continue;
            if (!subscriber.wanted.some((wanted) => levelsMatch(wanted, levels))) continue;
            if (!isReplayed && frame.pos !== undefined) subscriber.join?.delivered.add(frame.pos);
            callSafely(subscriber.handler, message);
        }
    }

    #answered(frame) {
        this.#requests.get(frame.id)?.resolve(frame);
        this.#requests.delete(frame.id);
        if (this.#isHeld) this.#flow();
    }

    #refused({ id, code, reason, retry_ms }) {
        const isLeave = this.#leaves.has(id);
        const isOurs = this.#joins.has(id) || this.#requests.has(id) || isLeave;
        const isRate = code === "rate_limited";
        if (isOurs && isRate && this.#holdBack(id, retry_ms)) return;
        this.#leaves.delete(id);
        const error = new FanfareError(code, reason);
        if (this.#joins.has(id)) this.#refuseJoin(id, error);
        else if (this.#requests.has(id)) this.#reject(id, error);
        // Whoever refuses an unsubscribe for another reason does not have the subscription.
        else if (id === undefined || (isLeave && isRate)) this.#emit("error", error);
    }

    #emit(name, detail) {
        for (const listener of this.#listeners.get(name) ?? []) callSafely(listener, detail);
    }
}
