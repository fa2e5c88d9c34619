// A server that goes, by will or by accident, and the next one in its place: the JavaScript SDK comes back by itself.

import assert from "node:assert/strict";
import { Person, range } from "./people.mjs";
import { Server } from "./server.mjs";
import { onEveryWayAlone } from "./suites.mjs";
import { until } from "./until.mjs";

/** Someone in a room of a server that holds five messages. */
async function arrive(t, way, { port }) {
  const ann = await Person.connect(t, { way, port }, "Ann");
  const member = await ann.enter("hall");
  await ann.publishNumbers("hall", 5);
  await member.heard(5);
  return { ann, member };
}

/** What must hold after a restart: a new life of the room, of which the client is told, and a connection that works. */
async function assertNewLife({ ann, member }) {
  await until(() => member.entered.length === 2, "the room on the next server");
  const [before, after] = member.entered;
  assert.equal(after.wasRecovering, true);
  assert.equal(after.recovered, false);
  assert.equal(after.streamPosition.offset, 0);
  assert.notEqual(after.streamPosition.epoch, before.streamPosition.epoch);
  assert.notEqual(ann.connected[1].client, ann.connected[0].client);
  await ann.publishNumbers("hall", 5, 5);
  await member.heard(10);
  assert.deepEqual(member.data, range(0, 10));
  assert.deepEqual(member.offsets, [...range(1, 6), ...range(1, 6)]);
}

/** What must hold after a restart on the same data: the same life of the room, nothing missed, nothing twice. */
async function assertSameLife({ ann, member }) {
  await until(() => member.entered.length === 2, "the room on the next server");
  const [before, after] = member.entered;
  assert.equal(after.wasRecovering, true);
  assert.equal(after.recovered, true);
  assert.equal(after.streamPosition.epoch, before.streamPosition.epoch);
  await ann.publishNumbers("hall", 5, 5);
  await member.heard(10);
  assert.deepEqual(member.data, range(0, 10));
  assert.deepEqual(member.offsets, range(1, 11));
}

/** Rooms of which nobody is told what the disk does not have. */
const STORED = `
[channel.without_namespace]
storage = "stored"
`;

onEveryWayAlone((way, test) => {
  test("a server that drained is no loss to those who come to the next one on its data", async (t) => {
    const first = await Server.start();
    const visit = await arrive(t, way, first);
    await first.stop({ keep: true });
    const second = await Server.start({ port: first.port, before: first });
    t.after(() => second.stop());
    await assertSameLife(visit);
  });

  test("a server that crashed is no loss in rooms that are stored", async (t) => {
    const first = await Server.start({ config: STORED });
    const visit = await arrive(t, way, first);
    await first.crash({ keep: true });
    const second = await Server.start({ config: STORED, port: first.port, before: first });
    t.after(() => second.stop());
    await assertSameLife(visit);
  });

  test("a server that crashed is told of in rooms that may have lost something", async (t) => {
    const first = await Server.start();
    const visit = await arrive(t, way, first);
    await first.crash({ keep: true });
    const second = await Server.start({ port: first.port, before: first });
    t.after(() => second.stop());
    const { ann, member } = visit;
    await until(() => member.entered.length === 2, "the room on the next server");
    const [before, after] = member.entered;
    assert.equal(after.recovered, false);
    assert.notEqual(after.streamPosition.epoch, before.streamPosition.epoch);
    const known = new Set(member.offsets.map((offset) => `${before.streamPosition.epoch} ${offset}`));
    await ann.publishNumbers("hall", 5, 5);
    await member.heard(10);
    const places = member.offsets.slice(5).map((offset) => `${after.streamPosition.epoch} ${offset}`);
    assert.ok(places.every((place) => !known.has(place)));
  });

  test("a server that drains says so, and its clients move to the next one", async (t) => {
    const first = await Server.start();
    const visit = await arrive(t, way, first);
    await first.stop();
    const { ann } = visit;
    await until(() => ann.connecting.length === 2, "the news");
    assert.equal(ann.connecting[1].code, 3001);
    assert.equal(ann.connecting[1].reason, "shutdown");
    assert.deepEqual(ann.disconnected, []);
    const second = await Server.start({ port: first.port });
    t.after(() => second.stop());
    await assertNewLife(visit);
  });

  test("clients of a server that crashed find the next one, however long it takes to come", async (t) => {
    const first = await Server.start();
    const visit = await arrive(t, way, first);
    await first.crash();
    const { ann } = visit;
    await until(() => ann.connecting.length === 2, "the loss");
    assert.equal(ann.connecting[1].code, 1, "the SDK's number for a connection that broke");
    await until(() => ann.errors.length >= 3, "some attempts in vain");
    const second = await Server.start({ port: first.port });
    t.after(() => second.stop());
    await assertNewLife(visit);
  });

  test("a server with many idle clients drains within its limit", async (t) => {
    const server = await Server.start();
    const people = await Promise.all(range(0, 100).map((n) => Person.connect(t, { way, port: server.port }, `n${n}`)));
    await Promise.all(people.map((person) => person.enter("hall")));
    await server.stop();
    const told = () => people.filter((person) => person.connecting.length === 2).length;
    await until(() => told() === people.length, () => `everybody to know, ${told()} did`);
    assert.deepEqual(people.map((person) => person.connecting[1].code), people.map(() => 3001));
  });
});
