// The ways in which the SDK talks to the server.

// Server-sent events are text, so there is no Protobuf over them.
export const WAYS = [
  way("websocket", "json"),
  way("websocket", "protobuf"),
  way("http_stream", "json"),
  way("http_stream", "protobuf"),
  way("sse", "json"),
];

function way(transport, encoding) {
  // Over these the commands go in requests of their own, which may overtake each other.
  const isEmulated = transport !== "websocket";
  return { transport, encoding, isEmulated, name: `${transport} ${encoding}` };
}
