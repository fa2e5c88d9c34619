// The heartbeat as the JavaScript SDK answers it, on servers that ask often.

import assert from "node:assert/strict";
import { Person } from "./people.mjs";
import { onEveryWay } from "./suites.mjs";
import { until } from "./until.mjs";

const CONFIG = `
[client]
ping_interval = "3s"
pong_timeout = "2900ms"
`;

onEveryWay((place, test) => {
  test("an idle client answers pings and stays", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    await until(() => ann.wire.pongs >= 2, () => `pongs, had ${ann.wire.pongs}`);
    await ann.publish("hall", "still here");
    assert.equal(ann.connected.length, 1);
    assert.equal(ann.client.state, "connected");
    assert.equal(await place.server.metric("roomcast_closes_total", 'code="3012"'), 0);
  });

  test("a client whose pongs are lost is closed with 3012, reconnects, and enters its rooms again", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const hall = await ann.enter("mute");
    ann.wire.isMute = true;
    await until(() => ann.connecting.length === 2, "the loss");
    ann.wire.isMute = false;
    assert.equal(ann.connecting[1].code, 3012);
    await until(() => hall.entered.length === 2, "the room");
    assert.equal(hall.entered[1].recovered, true);
  });
}, { config: CONFIG, isWaiting: true });
