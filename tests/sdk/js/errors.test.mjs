// What clients are refused, and by which number. The connection goes on after each.

import assert from "node:assert/strict";
import { Person } from "./people.mjs";
import { onEveryWay } from "./suites.mjs";
import { until } from "./until.mjs";

const CONFIG = `
[client]
channel_limit = 3

[[channel.namespaces]]
name = "read"
allow_publish_for_client = false
allow_publish_for_subscriber = false

[[channel.namespaces]]
name = "closed"
allow_subscribe_for_client = false
allow_subscribe_for_anonymous = false

[[channel.namespaces]]
name = "members"
allow_publish_for_client = false
allow_history_for_client = false
allow_presence_for_client = false

[[channel.namespaces]]
name = "bare"
history_size = 0
presence = false
join_leave = false

[[channel.namespaces]]
name = "digits"
channel_regex = "^[0-9]+$"
`;

onEveryWay((place, test) => {
  /** Somebody whose connection must be the same at the end of the test. */
  async function someone(t) {
    const person = await Person.connect(t, place, "Ann");
    t.after(() => assert.equal(person.connected.length, 1));
    return person;
  }

  async function refused(person, room) {
    const member = person.member(room);
    member.subscription.subscribe();
    await until(() => member.left.length === 1, "the refusal");
    return member.left[0].code;
  }

  test("a call where there is no backend: 108", async (t) => {
    const ann = await someone(t);
    await assert.rejects(ann.rpc("anything", {}), { code: 108, message: "not available" });
    await ann.publish("hall", 1);
  });

  test("what an application sends without awaiting an answer is taken and dropped", async (t) => {
    const ann = await someone(t);
    await ann.send({ anything: 1 });
    await ann.publish("hall", 1);
  });

  test("a room of a namespace that nobody declared: 102", async (t) => {
    const ann = await someone(t);
    assert.equal(await refused(ann, "nowhere:1"), 102);
    await assert.rejects(ann.publish("nowhere:1", 1), { code: 102 });
    await assert.rejects(ann.history("nowhere:1", { limit: 1 }), { code: 102 });
    await assert.rejects(ann.presence("nowhere:1"), { code: 102 });
    await assert.rejects(ann.presenceStats("nowhere:1"), { code: 102 });
  });

  test("what the namespace does not permit: 103", async (t) => {
    const ann = await someone(t);
    assert.equal(await refused(ann, "closed:1"), 103);
    const member = await ann.enter("read:1");
    await assert.rejects(member.publish(1), { code: 103 });
    assert.equal((await member.history({ limit: 0 })).offset, 0, "nothing was published");
  });

  test("what is for those in the room is refused outside and granted inside", async (t) => {
    const ann = await someone(t);
    const calls = [
      () => ann.publish("members:1", 1),
      () => ann.history("members:1", { limit: 1 }),
      () => ann.presence("members:1"),
      () => ann.presenceStats("members:1"),
    ];
    for (const call of calls) await assert.rejects(call(), { code: 103 });
    const member = await ann.enter("members:1");
    for (const call of calls) await call();
    member.subscription.unsubscribe();
    await until(() => ann.presenceStats("members:1").then(() => false, () => true), "the leaving");
    for (const call of calls) await assert.rejects(call(), { code: 103 });
  });

  test("one room too many: 106, until another is left", async (t) => {
    const ann = await someone(t);
    const members = [];
    for (const room of ["a", "b", "c"]) members.push(await ann.enter(room));
    assert.equal(await refused(ann, "d"), 106);
    members[0].subscription.unsubscribe();
    await until(async () => (await ann.presenceStats("a")).numClients === 0, "the leaving");
    ann.client.removeSubscription(ann.client.getSubscription("d"));
    await ann.enter("d");
  });

  test("a name that is none: 107", async (t) => {
    const ann = await someone(t);
    for (const room of ["x".repeat(256), "ž".repeat(128), "bell\u0007", "line\nline", "digits:abc"]) {
      assert.equal(await refused(ann, room), 107, JSON.stringify(room));
      await assert.rejects(ann.publish(room, 1), { code: 107 });
    }
    await ann.enter("x".repeat(255));
    await ann.enter("digits:42");
  });

  test("what a namespace does not keep is not available: 108", async (t) => {
    const ann = await someone(t);
    const member = await ann.enter("bare:1");
    assert.equal(member.entered[0].recoverable, false);
    assert.equal(member.entered[0].positioned, false);
    await assert.rejects(member.history({ limit: 1 }), { code: 108 });
    await assert.rejects(member.presence(), { code: 108 });
    await assert.rejects(member.presenceStats(), { code: 108 });
    await member.publish("live");
    await member.heard(1);
    assert.deepEqual(member.data, ["live"]);
    assert.deepEqual(member.joins, []);
  });

  test("subscriptions of kinds that are not served: 108", async (t) => {
    const ann = await someone(t);
    const map = ann.client.newMapSubscription("map");
    let code;
    map.on("unsubscribed", (context) => (code = context.code));
    map.subscribe();
    await until(() => code !== undefined, "the refusal");
    assert.equal(code, 108);
  });
}, { config: CONFIG });
