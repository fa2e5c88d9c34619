// Rooms on Node with the package ws: a set of members per room. /join/ROOM receives and may publish, /publish/ROOM
// publishes.
const { WebSocketServer } = require("ws");

const rooms = new Map();
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  backlog: 1024,
  perMessageDeflate: false,
  clientTracking: false,
});

server.on("connection", (socket, request) => {
  const [, verb, name] = request.url.split("/");
  if (!rooms.has(name)) rooms.set(name, new Set());
  const members = rooms.get(name);
  if (verb === "join") {
    members.add(socket);
    socket.on("close", () => members.delete(socket));
  }
  socket.on("message", (message, isBinary) => {
    for (const member of members) member.send(message, { binary: isBinary });
  });
  socket.on("error", () => socket.terminate());
});
