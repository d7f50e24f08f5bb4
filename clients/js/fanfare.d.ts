// The types of fanfare.js, written by hand. What the words mean stands in PROTOCOL.md.

/** How far somebody has come: a thing to keep and give back. */
export interface Cursor {
    epoch: string;
    pos: string[];
}

/** Where a subscription begins: with what comes, the newest n of every topic, or after a cursor. */
export type Start = "now" | { last: number } | { after: Cursor };

export type Message = {
    topic: string;
    /** The place in the order, where the topic has history. */
    pos?: string;
    /** Whether it comes from the history. */
    replayed: boolean;
} & (
    | { kind: "json"; data: any }
    | { kind: "text"; data: string }
    | { kind: "bytes"; data: Uint8Array }
);

/** The broker's answer to `subscribe`. */
export interface Subscribed {
    cursor: Cursor;
    /** Whether every topic that the filters can match has history. */
    recoverable: boolean;
    /** With a start after a cursor: whether everything after it is there. */
    recovered?: boolean;
    code?: "epoch_changed" | "evicted" | "invalid_position";
    reason?: string;
}

export interface Subscription {
    readonly filters: readonly string[];
    /** Rejected with a FanfareError if the broker refuses; the event "error" tells it as well. */
    readonly ready: Promise<Subscribed>;
    /** After which everything is still to come: for `start` in another run. Null: nothing yet. */
    readonly cursor: Cursor | null;
    /** The handler is not called any more. */
    unsubscribe(): void;
}

export interface PublishOptions {
    /** 1 to 64 bytes; a repetition with the same key is delivered once. Null: none. Default: random. */
    key?: string | null;
    /** False: it does not come back to this client. */
    echo?: boolean;
    /** The data is a string that is sent as text, not as JSON. */
    text?: boolean;
}

export interface Published {
    pos: string | undefined;
    duplicate: boolean;
}

export interface History {
    /** Oldest first. */
    messages: Message[];
    cursor: Cursor;
    /** With `after`, and for more than a page: whether there is no hole. */
    recovered?: boolean;
    code?: "epoch_changed" | "evicted" | "invalid_position";
    reason?: string;
}

export interface Events {
    state:
        | { state: "open" }
        /** The connection is lost; the next attempt comes in retryMs. */
        | { state: "connecting"; code: number; reason: string; retryMs: number }
        /** For good. */
        | { state: "closed"; code: number; reason: string };
    /** What was missed is on its way; `count` of it came from the history. */
    recovered: { filters: string[]; count: number };
    /** Messages may be missing. */
    unrecovered: {
        filters: string[];
        code: "epoch_changed" | "evicted" | "invalid_position" | "no_history";
        reason: string;
    };
    /** Messages are missing at this place of the stream. */
    gap: { filter: string; topic: string | null; missed: number | null; code: string };
    /** A subscription that was refused, and what the broker could not answer with an id. */
    error: FanfareError;
}

export interface Options {
    /** Where none is global: Node.js before 22. Any class with the browsers' interface. */
    WebSocket?: new (url: string, protocol: string) => any;
    /** The first wait for a reconnect is random below this; default 2,000. */
    backoffMinMs?: number;
    /** It doubles up to this; default 30,000. */
    backoffMaxMs?: number;
    /** An attempt has this long until the welcome; default 10,000. */
    connectTimeoutMs?: number;
    /** So many publishes and reads may wait, for a connection or for the broker's rate; default 100. */
    queueMax?: number;
    /**
     * A publish without an answer is repeated for so long; default 240,000. Less than the broker's
     * --idempotency-window.
     */
    repeatWithinMs?: number;
    /** What the broker refuses for its rate is sent again for so long; default 60,000. */
    refusedMaxMs?: number;
}

export class FanfareError extends Error {
    constructor(code: string, reason: string);
    /** An error code of the broker, or closed, outcome_unknown, queue_full, too_large, unsubscribed. */
    readonly code: string;
    readonly reason: string;
}

export class Fanfare {
    /** Connects, and stays connected until close(). Throws a TypeError without a WebSocket. */
    constructor(url: string, options?: Options);
    readonly state: "connecting" | "open" | "closed";
    /** Answers what takes the listener away again. */
    on<Name extends keyof Events>(name: Name, listener: (detail: Events[Name]) => void): () => void;
    subscribe(
        filter: string | string[],
        handler: (message: Message) => void,
        options?: { start?: Start },
    ): Subscription;
    /** Fulfilled when the message has its place in the order. Bytes are sent as such. */
    publish(topic: string, data: unknown, options?: PublishOptions): Promise<Published>;
    /** The last n messages (100 if nothing is said), or all after a cursor. */
    history(topic: string, options?: { last?: number } | { after?: Cursor }): Promise<History>;
    close(): void;
}

/** Whether a topic matches a filter. */
export function matches(filter: string, topic: string): boolean;
