// Coming back by the JavaScript SDK: what was missed is all there, or the client is told that it is not.

import assert from "node:assert/strict";
import { Person, range } from "./people.mjs";
import { onEveryWay } from "./suites.mjs";
import { until } from "./until.mjs";

const RECOVERY_LIMIT = 3500;
const CONFIG = `
[client]
recovery_max_publication_limit = ${RECOVERY_LIMIT}

[channel.without_namespace]
history_size = 4000

[[channel.namespaces]]
name = "short"
history_size = 10
`;

onEveryWay((place, test) => {
  /** Ann, who speaks, and Bob, who is in the room and goes away. */
  async function pair(t, room, options) {
    const ann = await Person.connect(t, place, "Ann");
    const bob = await Person.connect(t, place, "Bob");
    const member = await bob.enter(room, options);
    return { ann, bob, member };
  }

  async function reconnect(person, member) {
    const entered = member.entered.length;
    person.client.connect();
    await until(() => member.entered.length > entered, "the room");
    return member.entered.at(-1);
  }

  test("who was disconnected while hundreds were published misses none", async (t) => {
    const { ann, bob, member } = await pair(t, "away");
    assert.equal(member.entered[0].recoverable, true);
    assert.equal(member.entered[0].wasRecovering, false);
    await ann.publishNumbers("away", 50);
    await member.heard(50);
    bob.client.disconnect();
    await ann.publishNumbers("away", 500, 50);
    const context = await reconnect(bob, member);
    assert.equal(context.wasRecovering, true);
    assert.equal(context.recovered, true);
    assert.equal(context.hasRecoveredPublications, true);
    await member.heard(550);
    await ann.publishNumbers("away", 50, 550);
    await member.heard(600);
    assert.deepEqual(member.data, range(0, 600));
    assert.deepEqual(member.offsets, range(1, 601));
    assert.deepEqual(member.publications[300].info.connInfo, { name: "Ann" });
  });

  test("whose connection is cut again and again under a flood misses nothing and hears nothing twice", async (t) => {
    const { ann, bob, member } = await pair(t, "flood");
    const flood = ann.publishNumbers("flood", 3000);
    for (const cut of range(1, 8)) {
      await until(() => member.publications.length >= cut * 300, "more");
      const entered = member.entered.length;
      bob.cut();
      await until(() => member.entered.length > entered, "the return");
    }
    await flood;
    await member.heard(3000);
    assert.equal(bob.connected.length, 8);
    assert.ok(member.entered.slice(1).every((context) => context.recovered));
    assert.deepEqual(member.data, range(0, 3000));
    assert.deepEqual(member.offsets, range(1, 3001));
  });

  test("who left the room and enters again with the same subscription misses nothing", async (t) => {
    const { ann, member } = await pair(t, "out");
    for (const round of range(0, 5)) {
      member.subscription.unsubscribe();
      await ann.publishNumbers("out", 100, round * 200);
      member.subscription.subscribe();
      await member.subscription.ready();
      assert.equal(member.entered.at(-1).recovered, true);
      await ann.publishNumbers("out", 100, round * 200 + 100);
      await member.heard((round + 1) * 200);
    }
    assert.deepEqual(member.data, range(0, 1000));
  });

  test("everybody in many rooms recovers in each of them", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const bob = await Person.connect(t, place, "Bob");
    const rooms = range(0, 20).map((n) => `wide ${n}`);
    const members = await Promise.all(rooms.map((room) => bob.enter(room)));
    bob.client.disconnect();
    await Promise.all(rooms.map((room) => ann.publishNumbers(room, 30)));
    bob.client.connect();
    for (const member of members) {
      await member.heard(30);
      assert.deepEqual(member.data, range(0, 30));
      assert.equal(member.entered[1].recovered, true);
    }
  });

  test("a fresh client may go on from a position that somebody else had", async (t) => {
    const { ann, bob, member } = await pair(t, "since");
    await ann.publishNumbers("since", 10);
    await member.heard(10);
    const { epoch } = member.entered[0].streamPosition;
    bob.client.removeSubscription(leave(member));
    const again = await bob.enter("since", { since: { offset: 4, epoch } });
    assert.deepEqual(again.entered[0].streamPosition, { offset: 4, epoch }, "what is saved now loses nothing");
    await again.heard(6);
    assert.deepEqual(again.offsets, range(5, 11));
    bob.client.removeSubscription(leave(again));
    const top = await bob.enter("since", { since: { offset: 10, epoch } });
    assert.equal(top.entered[0].recovered, true);
    assert.equal(top.entered[0].hasRecoveredPublications, false);
  });

  test("a position of another life or of the future is not recovered", async (t) => {
    const { ann, bob, member } = await pair(t, "foreign");
    await ann.publishNumbers("foreign", 10);
    await member.heard(10);
    const { epoch } = member.entered[0].streamPosition;
    for (const since of [{ offset: 4, epoch: "another" }, { offset: 11, epoch }, { offset: 2 ** 53, epoch }]) {
      const eve = await Person.connect(t, place, "Eve");
      const visit = await eve.enter("foreign", { since });
      const [context] = visit.entered;
      assert.equal(context.wasRecovering, true);
      assert.equal(context.recovered, false);
      assert.deepEqual(context.streamPosition, { offset: 10, epoch });
      assert.deepEqual(visit.publications, []);
    }
  });

  test("who missed more than the history holds is told, hears no part of it, and goes on from now", async (t) => {
    const { ann, bob, member } = await pair(t, "short:1");
    await ann.publishNumbers("short:1", 1);
    await member.heard(1);
    bob.client.disconnect();
    await ann.publishNumbers("short:1", 10, 1);
    assert.equal((await reconnect(bob, member)).recovered, true, "as many as the history holds");
    await member.heard(11);
    bob.client.disconnect();
    await ann.publishNumbers("short:1", 11, 11);
    const context = await reconnect(bob, member);
    assert.equal(context.wasRecovering, true);
    assert.equal(context.recovered, false);
    assert.equal(context.streamPosition.offset, 22);
    await ann.publishNumbers("short:1", 3, 22);
    await member.heard(14);
    assert.deepEqual(member.data, [...range(0, 11), ...range(22, 25)]);
  });

  test("who was lapped by the ring is told", async (t) => {
    const { ann, bob, member } = await pair(t, "short:2");
    bob.client.disconnect();
    await ann.publishNumbers("short:2", 5000);
    const context = await reconnect(bob, member);
    assert.equal(context.recovered, false);
    assert.equal(context.streamPosition.offset, 5000);
    await ann.publishNumbers("short:2", 1, 5000);
    await member.heard(1);
    assert.deepEqual(member.offsets, [5001]);
  });

  test("who missed more than one reply may hold is told", async (t) => {
    const { ann, bob, member } = await pair(t, "limit");
    bob.client.disconnect();
    await ann.publishNumbers("limit", RECOVERY_LIMIT + 1);
    const context = await reconnect(bob, member);
    assert.equal(context.recovered, false);
    assert.deepEqual(member.publications, []);
  });

  test("a client that loads its own state is asked for it again when its position is lost", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const bob = await Person.connect(t, place, "Bob");
    await ann.publishNumbers("short:3", 20);
    let loads = 0;
    const member = await bob.enter("short:3", {
      getState: async () => {
        loads += 1;
        const { offset, epoch } = await ann.history("short:3", { limit: 0 });
        // The first state is as old as states get that lie in a cache.
        return { offset: loads === 1 ? 2 : offset, epoch };
      },
    });
    assert.equal(loads, 2);
    assert.equal(member.entered.length, 1);
    assert.equal(member.entered[0].recovered, true);
    await ann.publish("short:3", "live");
    await member.heard(1);
    assert.deepEqual(member.data, ["live"]);
  });

  function leave(member) {
    member.subscription.unsubscribe();
    return member.subscription;
  }
}, { config: CONFIG });
