// The network that a person's SDK is given: a test can see what goes out, hold back the pongs and cut everything off.

import { EventSource, WebSocket } from "./packages.mjs";

export class Wire {
  /** What the SDK has sent after its connect, one entry for each frame or request: text in JSON, bytes in Protobuf. */
  sent = [];
  /** Whether pongs are lost on their way. */
  isMute = false;
  #socket;
  #cutter = new AbortController();

  /** The options of the SDK that make it use this network. */
  get options() {
    const wire = this;
    const fetch = (url, options) => wire.#fetch(url, options);
    return {
      websocket: class extends WebSocket {
        constructor(...args) {
          super(...args);
          wire.#socket = this;
        }

        send(data, ...rest) {
          if (wire.#passes(data)) super.send(data, ...rest);
        }
      },
      fetch,
      eventsource: class extends EventSource {
        constructor(url, options) {
          super(url, { ...options, fetch });
        }
      },
    };
  }

  /** Breaks the connection, and every request under way, without a word to either side. */
  cut() {
    this.#socket?.terminate();
    this.#cutter.abort(new TypeError("the network is gone"));
    this.#cutter = new AbortController();
  }

  get pongs() {
    return this.sent.filter(isPong).length;
  }

  #fetch(url, options) {
    const signals = [options.signal, this.#cutter.signal].filter((signal) => signal);
    const signal = AbortSignal.any(signals);
    const send = () => fetch(url, { ...options, signal });
    if (!isEmulation(url)) return send();
    if (!this.#passes(emulatedData(options.body))) return Promise.resolve(new Response(null, { status: 204 }));
    // A connection that is kept may have ended while this process did not get to run: a browser asks again then, Node does not.
    return send().catch((error) => {
      if (signal.aborted || error.cause?.code !== "UND_ERR_SOCKET") throw error;
      return send();
    });
  }

  #passes(data) {
    this.sent.push(data);
    return !(this.isMute && isPong(data));
  }
}

/** How many commands such an entry of `sent` holds. */
export function commandsIn(data) {
  if (typeof data === "string") return data.split("\n").length;
  let count = 0;
  for (let at = 0; at < data.length; count += 1) {
    const [length, start] = varint(data, at);
    at = start + length;
  }
  return count;
}

function isPong(data) {
  return typeof data === "string" ? data === "{}" : data.length === 1 && data[0] === 0;
}

function isEmulation(url) {
  return new URL(url).pathname === "/emulation";
}

/** The commands in the body of a request to `/emulation`. */
function emulatedData(body) {
  if (typeof body === "string") return JSON.parse(body).data;
  // Three fields of bytes: node 1, session 2, data 3.
  for (let at = 0; at < body.length; ) {
    const field = body[at] >> 3;
    const [length, start] = varint(body, at + 1);
    at = start + length;
    if (field === 3) return body.subarray(start, at);
  }
  throw new Error("a request to /emulation without data");
}

/** The varint at `at`, and where it ends. */
function varint(bytes, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return [value, at];
  }
}
