// What only a WebSocket has: frames of a kind and of a size.

import assert from "node:assert/strict";
import { WebSocket } from "./packages.mjs";
import { Person } from "./people.mjs";
import { onEveryWay } from "./suites.mjs";
import { until } from "./until.mjs";
import { WAYS } from "./ways.mjs";
import { commandsIn } from "./wire.mjs";

const CONFIG = `
[websocket]
message_size_limit = 4096
`;

onEveryWay((place, test) => {
  const isText = place.way.encoding === "json";

  test("a message over the limit ends the connection with 1009, one at the limit passes", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const hall = await ann.enter("large");
    await ann.publish("large", "x".repeat(3000));
    const overhead = sizeOf(ann.wire.sent.at(-1)) - 3000;
    const fits = "x".repeat(4096 - overhead);
    await ann.publish("large", fits);
    await hall.heard(2);
    assert.equal(sizeOf(ann.wire.sent.at(-1)), 4096);
    assert.equal(hall.data[1].length, fits.length);
    await assert.rejects(ann.publish("large", `${fits}x`));
    await until(() => ann.disconnected.length === 1, "the end");
    // The SDK's name for 1009: reconnecting would not help.
    assert.equal(ann.disconnected[0].code, 3);
    assert.equal(await place.server.metric("roomcast_closes_total", 'code="1009"'), 1);
  });

  test("a frame of the other kind, text or binary, ends the connection for good", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const send = WebSocket.prototype.send;
    t.mock.method(WebSocket.prototype, "send", function (data) {
      send.call(this, Buffer.from(data), { binary: isText });
    });
    await assert.rejects(ann.publish("hall", 1));
    await until(() => ann.disconnected.length === 1, "the end");
    assert.equal(ann.disconnected[0].code, 3501);
  });

  test("the SDK sends connect and what it wants to enter in one frame", async (t) => {
    const ann = new Person(place, "Ann");
    t.after(() => ann.client.disconnect());
    const members = ["one", "two", "three"].map((room) => ann.member(room));
    for (const member of members) member.subscription.subscribe();
    ann.client.connect();
    await Promise.all(members.map((member) => member.subscription.ready()));
    assert.equal(commandsIn(ann.wire.sent[0]), 4);
  });

  test("clients that went leave no socket behind", async () => {
    // The last one is that of the question.
    await until(async () => (await place.server.metric("roomcast_sockets")) <= 1, "the sockets to be closed");
  });
}, { config: CONFIG, ways: WAYS.filter((way) => way.transport === "websocket") });

function sizeOf(data) {
  return typeof data === "string" ? Buffer.byteLength(data) : data.length;
}
