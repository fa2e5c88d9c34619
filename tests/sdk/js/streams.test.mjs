// What only HTTP streaming and server-sent events have: commands in requests of their own.

import assert from "node:assert/strict";
import { Person } from "./people.mjs";
import { onEveryWay } from "./suites.mjs";
import { until } from "./until.mjs";
import { WAYS } from "./ways.mjs";

const CONFIG = `
[websocket]
message_size_limit = 4096
`;

onEveryWay((place, test) => {
  test("commands that are too large are refused, and the connection goes on", async (t) => {
    const ann = await Person.connect(t, place, "Ann", { timeout: 5000 });
    const hall = await ann.enter("large");
    await ann.publish("large", "x".repeat(3500));
    const tooLarge = [4_200, 20_000].map((size) => ann.publish("large", "x".repeat(size)));
    // No reply: they never were commands. The SDK gives up on each by itself.
    for (const refused of tooLarge) await assert.rejects(refused, { message: "timeout" });
    await ann.publish("large", "after");
    await hall.heard(2);
    assert.equal(hall.data[1], "after");
    assert.equal(ann.connected.length, 1);
  });

  test("a client that no WebSocket reaches falls back, and stays with what works", async (t) => {
    const at = (path) => `127.0.0.1:${place.port}/connection/${path}`;
    const endpoints = [
      { transport: "websocket", endpoint: `ws://${at("nowhere")}` },
      { transport: place.way.transport, endpoint: `http://${at(place.way.transport)}` },
    ];
    const ann = await Person.connect(t, place, "Ann", { endpoints });
    const hall = await ann.enter("fallback");
    await hall.publish(1);
    await hall.heard(1);
    ann.cut();
    await until(() => ann.connected.length === 2, "the return");
    await until(() => hall.entered.length === 2, "the room");
    await hall.publish(2);
    await hall.heard(2);
    assert.deepEqual(ann.connected.map(({ transport }) => transport), [place.way.transport, place.way.transport]);
  });
}, { config: CONFIG, ways: WAYS.filter((way) => way.isEmulated) });
