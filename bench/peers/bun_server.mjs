// uWebSockets' publish/subscribe, as Bun has it built in: `bun bun_server.mjs PORT`.

const server = Bun.serve({
  port: Number(process.argv[2]),
  hostname: "127.0.0.1",
  fetch(request, bun) {
    return bun.upgrade(request) ? undefined : new Response("WebSocket only", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    maxPayloadLength: 16 * 1024 * 1024,
    backpressureLimit: 64 * 1024 * 1024,
    idleTimeout: 0,
    message(socket, text) {
      const topicEnd = text.indexOf(" ", 4);
      if (text.startsWith("sub ")) {
        socket.subscribe(text.slice(4));
        socket.send("ok");
      } else {
        server.publish(text.slice(4, topicEnd), text.slice(topicEnd + 1));
      }
    },
  },
});
console.log("ready");
