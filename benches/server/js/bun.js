// Rooms on Bun, whose WebSockets are uWebSockets: a topic per room. /join/ROOM receives and may publish, /publish/ROOM
// publishes.
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
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
