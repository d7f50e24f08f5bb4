// Node.js with the package ws: `node ws_server.cjs PORT`. What a small chat server looks like, with
// the frame built once per message (the text as a Buffer) rather than once per subscriber.

// Where Debian's package stands.
const { WebSocketServer } = require("/usr/share/nodejs/ws");

const topics = new Map();
const server = new WebSocketServer({
  port: Number(process.argv[2]),
  host: "127.0.0.1",
  perMessageDeflate: false,
  backlog: 4096,
});

server.on("connection", (socket) => {
  const subscribed = new Set();
  socket.on("message", (data) => {
    const text = data.toString("latin1");
    const topicEnd = text.indexOf(" ", 4);
    if (text.startsWith("sub ")) {
      const topic = text.slice(4);
      if (!topics.has(topic)) topics.set(topic, new Set());
      topics.get(topic).add(socket);
      subscribed.add(topic);
      socket.send("ok");
      return;
    }
    const payload = data.subarray(topicEnd + 1);
    for (const other of topics.get(text.slice(4, topicEnd)) ?? []) {
      other.send(payload, { binary: false });
    }
  });
  socket.on("close", () => {
    for (const topic of subscribed) topics.get(topic).delete(socket);
  });
});
server.on("listening", () => console.log("ready"));
