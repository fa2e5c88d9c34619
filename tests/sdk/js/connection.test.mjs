// Connections by the JavaScript SDK: coming, staying, going.

import assert from "node:assert/strict";
import { Person, range } from "./people.mjs";
import { onEveryWay } from "./suites.mjs";
import { until } from "./until.mjs";
import { commandsIn } from "./wire.mjs";

onEveryWay((place, test) => {
  test("a client connects and disconnects many times, as somebody else each time", async (t) => {
    const ann = new Person(place, "Ann");
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
    const ann = new Person(place, "Ann");
    t.after(() => ann.client.disconnect());
    for (let round = 0; round < 20; round += 1) {
      ann.client.connect();
      ann.client.disconnect();
    }
    assert.equal(ann.client.state, "disconnected");
    ann.client.connect();
    await ann.client.ready();
    await ann.publish("hall", "here");
  });

  test("many clients connect at once", async (t) => {
    const people = await Promise.all(Array.from({ length: 50 }, (_, n) => Person.connect(t, place, `n${n}`)));
    assert.equal(new Set(people.map((person) => person.id)).size, 50);
  });

  test("clients that went are none of the server's connections any more", async () => {
    await until(async () => (await place.server.metric("roomcast_connections")) === 0, "the connections to end");
  });

  test("commands that the SDK batches are sent as one and all carried out, in order", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const hall = await ann.enter("batch");
    ann.client.startBatching();
    const published = range(0, 30).map((n) => ann.publish("batch", n));
    ann.client.stopBatching();
    await Promise.all(published);
    await hall.heard(30);
    assert.deepEqual(hall.data, range(0, 30));
    assert.ok(ann.wire.sent.some((data) => commandsIn(data) === 30), "the SDK did not send them as one");
  });

  test("what is asked for before the connection stands is done once it does", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const member = await ann.enter("early");
    const bob = new Person(place, "Bob");
    t.after(() => bob.client.disconnect());
    const visit = bob.member("early");
    visit.subscription.subscribe();
    const asked = [bob.publish("early", "before connecting")];
    bob.client.connect();
    asked.push(bob.publish("early", "while connecting"), bob.presenceStats("early"));
    assert.equal(bob.client.state, "connecting");
    await Promise.all(asked);
    await Promise.all([member.heard(2), visit.subscription.ready()]);
    assert.deepEqual([...member.data].sort(), ["before connecting", "while connecting"]);
  });

  test("a client is told by its machine that the network is gone and back, and misses nothing", async (t) => {
    const network = new EventTarget();
    const ann = await Person.connect(t, place, "Ann");
    // Without the news he would come back after the test.
    const patience = { minReconnectDelay: 60_000, maxReconnectDelay: 60_000 };
    const bob = await Person.connect(t, place, "Bob", { networkEventTarget: network, ...patience });
    const member = await bob.enter("network");
    for (const round of range(1, 4)) {
      network.dispatchEvent(new Event("offline"));
      assert.equal(bob.client.state, "connecting");
      await until(async () => (await ann.presenceStats("network")).numClients === 0, "the loss to show");
      await ann.publish("network", round);
      network.dispatchEvent(new Event("online"));
      await member.heard(round);
    }
    assert.deepEqual(member.data, [1, 2, 3]);
    assert.ok(member.entered.slice(1).every((context) => context.recovered));
    assert.deepEqual(bob.disconnected, []);
    await until(async () => (await ann.presenceStats("network")).numClients === 1, "Bob alone to be there");
  });
});
