// Rooms on Bun, whose WebSockets are uWebSockets: a topic per room. /join/ROOM receives and may publish, /publish/ROOM
// publishes. With the files of a certificate and its key behind the port, over TLS.
const [port, certificate, key] = process.argv.slice(2);
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(port),
  tls: certificate && { cert: Bun.file(certificate), key: Bun.file(key) },
  fetch(request, server) {
    const [, verb, room] = new URL(request.url).pathname.split("/");
    if (server.upgrade(request, { data: { room, joins: verb === "join" } })) return;
    return new Response("a WebSocket is wanted", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    open(socket) {
      if (socket.data.joins) socket.subscribe(socket.data.room);
    },
    message(socket, message) {
      server.publish(socket.data.room, message);
    },
  },
});
