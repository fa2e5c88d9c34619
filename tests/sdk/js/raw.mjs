// A client without an SDK: frames out, objects in, as they are on the wire.

import assert from "node:assert/strict";
import { connect as dial } from "node:net";
import { randomBytes } from "node:crypto";
import { WebSocket } from "./packages.mjs";
import { until } from "./until.mjs";

export class Raw {
  /** Everything heard, parsed, in order; pings too. */
  objects = [];
  /** The text of each frame. */
  frames = [];
  /** `{ code, reason }` once the server has closed. */
  closed;
  #socket;
  #taken = 0;

  static async open(t, server) {
    const raw = new Raw();
    const socket = (raw.#socket = new WebSocket(`ws://127.0.0.1:${server.port}/connection/websocket`));
    t.after(() => socket.terminate());
    socket.on("message", (data, isBinary) => {
      assert.equal(isBinary, false, "JSON comes in text frames");
      raw.frames.push(data.toString());
      raw.objects.push(...data.toString().split("\n").map((line) => JSON.parse(line)));
    });
    socket.on("close", (code, reason) => (raw.closed = { code, reason: reason.toString() }));
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    return raw;
  }

  /** A client that has connected under a name. */
  static async connect(t, server, name = "Ann") {
    const raw = await Raw.open(t, server);
    raw.send({ id: 1, connect: { data: { name } } });
    const { connect } = await raw.reply(1);
    raw.id = connect.client;
    return raw;
  }

  /** Sends commands in one frame. */
  send(...commands) {
    this.text(commands.map((command) => JSON.stringify(command)).join("\n"));
  }

  text(text) {
    this.#socket.send(text);
  }

  /** The next object that is not a ping. */
  async next() {
    const isThere = () => {
      while (this.#taken < this.objects.length && isPing(this.objects[this.#taken])) this.#taken += 1;
      return this.#taken < this.objects.length;
    };
    await until(() => isThere() || this.closed, "an object");
    assert.ok(isThere(), `closed instead: ${JSON.stringify(this.closed)}`);
    return this.objects[this.#taken++];
  }

  /** The reply with this id; what comes before it is passed over. */
  async reply(id) {
    for (;;) {
      const object = await this.next();
      if (object.id === id) return object;
      assert.equal(object.id, undefined, `the reply to ${id} was expected: ${JSON.stringify(object)}`);
    }
  }

  /** Sends one command and resolves with its reply. */
  ask(id, method, parameters) {
    this.send({ id, [method]: parameters });
    return this.reply(id);
  }

  /** The next push to a room of this kind: `pub`, `join`, … */
  async push(kind) {
    for (;;) {
      const { push } = await this.next();
      if (push?.[kind]) return push;
    }
  }

  /** The code the server closes with. */
  async closeCode() {
    await until(() => this.closed, "the close");
    return this.closed.code;
  }
}

export function isPing(object) {
  return Object.keys(object).length === 0;
}

/** A bare socket after the handshake, for frames that no library would send. Resolves with the close code. */
export async function sendBytes(t, server, bytes) {
  const socket = dial(server.port, "127.0.0.1");
  t.after(() => socket.destroy());
  const lines = ["GET /connection/websocket HTTP/1.1", `Host: 127.0.0.1:${server.port}`, "Upgrade: websocket"];
  lines.push("Connection: Upgrade", "Sec-WebSocket-Version: 13");
  lines.push(`Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`, "", "");
  socket.write(lines.join("\r\n"));
  let heard = Buffer.alloc(0);
  socket.on("data", (chunk) => (heard = Buffer.concat([heard, chunk])));
  await until(() => heard.includes("\r\n\r\n"), "the handshake");
  assert.match(heard.toString("latin1"), /^HTTP\/1\.1 101 /);
  heard = heard.subarray(heard.indexOf("\r\n\r\n") + 4);
  socket.write(bytes);
  await until(() => heard.length >= 4, "a close frame");
  assert.equal(heard[0], 0x88, "a close frame");
  return heard.readUInt16BE(2);
}

/** A masked text frame. The mask is zeros, which leave the text as it is. */
export function textFrame(text) {
  assert.ok(text.length < 126);
  return Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]);
}
