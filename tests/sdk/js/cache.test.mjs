// Rooms of which only the newest message counts: `force_recovery_mode = "cache"`.

import assert from "node:assert/strict";
import { Person } from "./people.mjs";
import { onEveryWay } from "./suites.mjs";
import { until } from "./until.mjs";

const CONFIG = `
[[channel.namespaces]]
name = "price"
force_recovery_mode = "cache"
history_size = 10

[[channel.namespaces]]
name = "one"
force_recovery_mode = "cache"
history_size = 1
`;
/** Asks for what there is, from no position. */
const NEWEST = { since: { offset: 0, epoch: "" } };

onEveryWay((place, test) => {
  for (const namespace of ["price", "one"]) {
    test(`who comes back gets the newest alone, however much was missed, ${namespace}`, async (t) => {
      const room = `${namespace}:back`;
      const ann = await Person.connect(t, place, "Ann");
      const bob = await Person.connect(t, place, "Bob");
      const member = await bob.enter(room);
      await ann.publishNumbers(room, 3);
      await member.heard(3);
      for (const missed of [1, 2, 100]) {
        const { length } = member.publications;
        const from = member.data.at(-1) + 1;
        bob.client.disconnect();
        await ann.publishNumbers(room, missed, from);
        bob.client.connect();
        await member.heard(length + 1);
        const context = member.entered.at(-1);
        assert.equal(context.wasRecovering, true);
        assert.equal(context.recovered, true);
        assert.equal(context.hasRecoveredPublications, true);
        const newest = from + missed - 1;
        assert.deepEqual(member.data.slice(length), [newest]);
        assert.equal(member.offsets.at(-1), newest + 1);
      }
      await ann.publishNumbers(room, 2, 106);
      await member.heard(8);
      assert.deepEqual(member.data, [0, 1, 2, 3, 5, 105, 106, 107]);
    });
  }

  test("who has the newest already gets nothing", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const member = await ann.enter("price:same");
    await ann.publishNumbers("price:same", 5);
    await member.heard(5);
    ann.client.disconnect();
    ann.client.connect();
    await until(() => member.entered.length === 2, "the room");
    assert.equal(member.entered[1].recovered, true);
    assert.equal(member.entered[1].hasRecoveredPublications, false);
    await ann.publish("price:same", 5);
    await member.heard(6);
    assert.deepEqual(member.data, [0, 1, 2, 3, 4, 5]);
  });

  test("who enters for the first time may ask for the newest", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    await ann.publishNumbers("price:first", 5);
    const plain = await ann.enter("price:first");
    assert.equal(plain.entered[0].wasRecovering, false);
    const bob = await Person.connect(t, place, "Bob");
    const member = await bob.enter("price:first", NEWEST);
    assert.equal(member.entered[0].recovered, true);
    await member.heard(1);
    assert.deepEqual([member.data, member.offsets], [[4], [5]]);
    assert.deepEqual(plain.publications, []);
  });

  test("a position of another life does no harm", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    await ann.publishNumbers("price:life", 5);
    const member = await ann.enter("price:life", { since: { offset: 5, epoch: "another" } });
    assert.equal(member.entered[0].recovered, true);
    await member.heard(1);
    assert.deepEqual([member.data, member.offsets], [[4], [5]]);
  });

  test("in a room that nobody has spoken in there is nothing to recover", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const member = await ann.enter("price:silent", NEWEST);
    assert.equal(member.entered[0].wasRecovering, true);
    assert.equal(member.entered[0].recovered, false);
    await member.publish("first");
    await member.heard(1);
    assert.deepEqual(member.offsets, [1]);
  });
}, { config: CONFIG });
