// Connections by the JavaScript SDK: coming, staying, going.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Person, WebSocket } from "./people.mjs";
import { Server } from "./server.mjs";
import { until } from "./until.mjs";

const CONFIG = `
[client]
ping_interval = "500ms"
pong_timeout = "400ms"

[websocket]
message_size_limit = 4096
`;

let server;
before(async () => (server = await Server.start({ config: CONFIG })));
after(() => server.stop());

test("a client connects and disconnects many times, as somebody else each time", async (t) => {
  const ann = new Person(server, "Ann");
  t.after(() => ann.client.disconnect());
  for (let round = 0; round < 50; round += 1) {
    ann.client.connect();
    await ann.client.ready();
    ann.client.disconnect();
  }
  const ids = ann.connected.map((context) => context.client);
  assert.equal(ids.length, 50);
  assert.equal(new Set(ids).size, 50);
  assert.equal(ann.disconnected.length, 50);
  assert.deepEqual(ann.errors, []);
});

test("a client that changes its mind while connecting ends up as it wanted last", async (t) => {
  const ann = new Person(server, "Ann");
  t.after(() => ann.client.disconnect());
  for (let round = 0; round < 20; round += 1) {
    ann.client.connect();
    ann.client.disconnect();
  }
  assert.equal(ann.client.state, "disconnected");
  ann.client.connect();
  await ann.client.ready();
  await ann.client.publish("hall", "here");
});

test("many clients connect at once", async (t) => {
  const people = await Promise.all(Array.from({ length: 50 }, (_, n) => Person.connect(t, server, `n${n}`)));
  assert.equal(new Set(people.map((person) => person.id)).size, 50);
});

test("clients that went leave no socket behind", async () => {
  await until(async () => (await server.metric("roomcast_sockets")) <= 1, "the sockets to be closed");
});

test("an idle client answers pings and stays", async (t) => {
  const ann = await Person.connect(t, server, "Ann");
  const pings = () => ann.frames.filter((frame) => frame.heard === "{}").length;
  const pongs = () => ann.frames.filter((frame) => frame.sent === "{}").length;
  await until(() => pongs() >= 4, () => `pongs, had ${pongs()}`);
  assert.ok(pings() >= pongs());
  assert.equal(ann.connected.length, 1);
  assert.equal(ann.client.state, "connected");
  assert.equal(await server.metric("roomcast_closes_total", 'code="3012"'), 0);
});

test("a client that does not answer pings is closed with 3012, reconnects, and enters its rooms again", async (t) => {
  const ann = await Person.connect(t, server, "Ann");
  const hall = await ann.enter("mute");
  // The SDK answers by itself: take the answer out of its hands once.
  const send = WebSocket.prototype.send;
  let muted = true;
  t.mock.method(WebSocket.prototype, "send", function (data, ...rest) {
    if (!(muted && data.toString() === "{}")) send.call(this, data, ...rest);
  });
  await until(() => ann.connecting.length === 2, "the loss");
  muted = false;
  assert.equal(ann.connecting[1].code, 3012);
  await until(() => hall.entered.length === 2, "the room");
  assert.equal(hall.entered[1].recovered, true);
});

test("a message over the limit ends the connection with 1009, one at the limit passes", async (t) => {
  const ann = await Person.connect(t, server, "Ann");
  const hall = await ann.enter("large");
  const command = (data) => JSON.stringify({ publish: { channel: "large", data }, id: 4 }).length;
  const fits = "x".repeat(4096 - command(""));
  await ann.client.publish("large", fits);
  await hall.heard(1);
  assert.equal(hall.data[0].length, fits.length);
  await assert.rejects(ann.client.publish("large", `${fits}xx`));
  await until(() => ann.disconnected.length === 1, "the end");
  // The SDK's name for 1009: reconnecting would not help.
  assert.equal(ann.disconnected[0].code, 3);
  assert.equal(await server.metric("roomcast_closes_total", 'code="1009"'), 1);
});

test("commands that the SDK batches into one frame are all carried out, in order", async (t) => {
  const ann = await Person.connect(t, server, "Ann");
  const hall = await ann.enter("batch");
  ann.client.startBatching();
  const published = Array.from({ length: 30 }, (_, n) => ann.client.publish("batch", n));
  ann.client.stopBatching();
  await Promise.all(published);
  await hall.heard(30);
  assert.deepEqual(hall.data, Array.from({ length: 30 }, (_, n) => n));
  const batches = ann.frames.filter((frame) => frame.sent?.includes("\n"));
  assert.ok(batches.length > 0, "the SDK sent every command in a frame of its own");
});

test("a binary frame on a JSON connection ends it for good", async (t) => {
  const ann = await Person.connect(t, server, "Ann");
  const send = WebSocket.prototype.send;
  t.mock.method(WebSocket.prototype, "send", function (data) {
    send.call(this, Buffer.from(data), { binary: true });
  });
  await assert.rejects(ann.client.publish("hall", 1));
  await until(() => ann.disconnected.length === 1, "the end");
  assert.equal(ann.disconnected[0].code, 3501);
});
