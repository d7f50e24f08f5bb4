// The checks of test_clients.py with the `ws` package: node client_node.js URL
//
// Prints "ok NAME" or "failed NAME: why" for each. Before the last one it prints
// "waiting for goodbye", upon which the broker is to be stopped.
'use strict';

const assert = require('assert');
const WebSocket = require('ws');

const url = process.argv[2];
const timeout_ms = 30000;

// What ends a check that would wait for ever.
function in_time(promise, what) {
  let timer;
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('no ' + what + ' in time')), timeout_ms);
  });
  return Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
}

class Client {
  constructor(protocols = ['fanfare.v1']) {
    this.inbox = [];
    this.wake = () => {};
    this.pings = 0;
    this.socket = new WebSocket(url, protocols);
    this.socket.on('message', (data, is_binary) => {
      assert(!is_binary);
      this.inbox.push(JSON.parse(data.toString()));
      this.wake();
    });
    this.socket.on('ping', () => { this.pings += 1; });
    this.closed = new Promise((resolve) => {
      this.socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    this.failed = new Promise((_, reject) => this.socket.on('error', reject));
    this.failed.catch(() => {});  // looked at only by those who wait
  }

  async open() {
    this.welcome = await this.receive();
    assert.strictEqual(this.welcome.op, 'welcome');
    return this;
  }

  command(command) { this.socket.send(JSON.stringify(command)); }

  async receive() {
    while (this.inbox.length === 0) {
      const arrival = new Promise((resolve) => { this.wake = resolve; });
      const end = this.closed.then(({ code }) => { throw new Error('closed with ' + code); });
      await in_time(Promise.race([arrival, this.failed, end]), 'message');
    }
    return this.inbox.shift();
  }

  async receive_op(op) {
    for (;;) {
      const message = await this.receive();
      if (message.op === op) return message;
    }
  }

  async subscribe(...filters) {
    this.command({ op: 'subscribe', id: 's', filters });
    assert.strictEqual((await this.receive_op('subscribed')).id, 's');
  }

  close(code = 1000, reason = '') {
    this.socket.close(code, reason);
    return in_time(this.closed, 'close');
  }
}

const open = (protocols) => new Client(protocols).open();

function publish_of(size) {
  const head = '{"op":"publish","topic":"large","text":"';
  return head + 'x'.repeat(size - head.length - 2) + '"}';
}

const checks = {
  async welcome() {
    const client = await open();
    assert.strictEqual(client.socket.protocol, 'fanfare.v1');
    assert.strictEqual(client.welcome.max_message_bytes, 65536);
    await client.close();
  },

  async overlap_once() {
    const client = await open();
    await client.subscribe('overlap/#', 'overlap/+/temp', 'overlap/a/temp');
    client.command({ op: 'publish', topic: 'overlap/a/temp', data: 1 });
    client.command({ op: 'publish', topic: 'overlap/a/temp', data: 2 });
    assert.strictEqual((await client.receive_op('message')).data, 1);
    assert.strictEqual((await client.receive_op('message')).data, 2);
    await client.close();
  },

  async payloads() {
    const topic = 'payloads/ünï/🎺';
    const sent = [
      { data: { b: [1, 2.5, null, true], a: { 'é': '日本語 🎺' } } },
      { text: 'Grüße, мир, 日本語, 🎺, \u0000 "quoted" \\ \n\t \u2028' },
      { base64: Buffer.from([0, 1, 254, 255]).toString('base64') }, { text: '' }, { data: null },
    ];
    const client = await open();
    await client.subscribe(topic);
    for (const payload of sent) client.command({ op: 'publish', topic, ...payload });
    for (const payload of sent) {
      const message = await client.receive_op('message');
      assert.deepStrictEqual(message, { op: 'message', topic, ...payload });
    }
    await client.close();
  },

  async ping_command() {
    const client = await open();
    client.command({ op: 'ping', id: 7 });
    assert.deepStrictEqual(await client.receive_op('pong'), { op: 'pong', id: 7 });
    await client.close();
  },

  async ping_frame() {
    const client = await open();
    const pong = new Promise((resolve) => client.socket.on('pong', resolve));
    client.socket.ping('are you there?');
    assert.strictEqual((await in_time(pong, 'pong')).toString(), 'are you there?');
    await client.close();
  },

  async error_reply() {
    const client = await open();
    client.command({ op: 'dance', id: 'x' });
    const answer = await client.receive();
    assert.deepStrictEqual([answer.op, answer.id, answer.code], ['error', 'x', 'unknown_op']);
    assert(answer.reason.length > 0);
    client.socket.send('{not json');
    assert.strictEqual((await client.receive()).code, 'invalid_json');
    client.command({ op: 'ping' });
    assert.deepStrictEqual(await client.receive(), { op: 'pong' });
    await client.close();
  },

  async fragmented() {
    const text = '🎺'.repeat(500);
    const bytes = Buffer.from(JSON.stringify({ op: 'publish', topic: 'fragments', text }));
    const client = await open();
    await client.subscribe('fragments');
    // Odd cuts, so that characters of four bytes are cut too; and a ping between two fragments.
    const cuts = [0, 1, 41, 42, 777, bytes.length];
    for (let index = 1; index < cuts.length; ++index) {
      const piece = bytes.subarray(cuts[index - 1], cuts[index]);
      client.socket.send(piece, { fin: index + 1 === cuts.length, binary: false });
      if (index === 2) client.socket.ping('between');
    }
    assert.strictEqual((await client.receive_op('message')).text, text);
    await client.close();
  },

  async largest_message() {
    const client = await open();
    await client.subscribe('large');
    const text = publish_of(client.welcome.max_message_bytes);
    client.socket.send(text);
    assert.strictEqual((await client.receive_op('message')).text, JSON.parse(text).text);
    await client.close();
  },

  async too_large() {
    const client = await open();
    client.socket.send(publish_of(client.welcome.max_message_bytes + 1));
    assert.strictEqual((await in_time(client.closed, 'close')).code, 1009);
  },

  async binary_frame() {
    const client = await open();
    client.socket.send(Buffer.from([0, 1]));
    assert.strictEqual((await in_time(client.closed, 'close')).code, 1003);
  },

  async close_by_client() {
    for (const [code, reason] of [[1000, ''], [3001, 'bye 🎺']]) {
      const client = await open();
      assert.strictEqual((await client.close(code, reason)).code, code);
    }
  },

  async survives_silence() {
    const client = await open();
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assert(client.pings > 0, 'no ping arrived');  // which the library answers
    client.command({ op: 'ping', id: 1 });
    await client.receive_op('pong');
    await client.close();
  },

  async unknown_subprotocol() {
    const client = new Client(['mqtt']);
    const status = new Promise((resolve) => {
      client.socket.on('unexpected-response', (request, response) => {
        resolve(response.statusCode);
        request.destroy();
      });
    });
    assert.strictEqual(await in_time(status, 'refusal'), 400);
  },

  async goodbye() {
    const client = await open();
    console.log('waiting for goodbye');
    const message = await client.receive_op('goodbye');
    assert.strictEqual(message.code, 'draining');
    assert(message.retry_ms > 0);
    assert.strictEqual((await in_time(client.closed, 'close')).code, 1001);
  },
};

async function main() {
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
      console.log('ok ' + name);
    } catch (problem) {
      console.error(problem);
      console.log('failed ' + name + ': ' + problem.message);
    }
  }
  process.exit(0);
}

main();
