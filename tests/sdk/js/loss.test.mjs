// Connections that break in the ways networks and machines break: who notices, who is in the room then, and what those
// who come back have missed.

import assert from "node:assert/strict";
import { Proxy } from "../../browser/proxy.mjs";
import { Person, range } from "./people.mjs";
import { onEveryWay } from "./suites.mjs";
import { until } from "./until.mjs";
import { Visitor } from "./visitor.mjs";

const CONFIG = `
[client]
ping_interval = "2500ms"
pong_timeout = "2400ms"
`;
/** The SDK's numbers for a connection that closed and for one that says nothing any more. */
const [TRANSPORT_CLOSED, NO_PING] = [1, 2];

onEveryWay((place, test) => {
  /** Ann, whose connection is good, and Bob, whose connection passes a proxy, in one room. */
  async function pair(t, room) {
    const proxy = await Proxy.start(place.port);
    t.after(() => proxy.stop());
    const ann = await Person.connect(t, place, "Ann");
    const bob = await Person.connect(t, { way: place.way, port: proxy.port }, "Bob", { maxServerPingDelay: 2500 });
    const here = await ann.enter(room);
    const member = await bob.enter(room);
    await until(() => joinsOf(here, bob.id).length === 1, "the join");
    return { proxy, ann, bob, here, member };
  }

  const joinsOf = (member, id) => member.joins.filter((info) => info.client === id);
  const leavesOf = (member, id) => member.leaves.filter((info) => info.client === id);
  const present = async (person, room) => Object.keys((await person.presence(room)).clients).sort();
  const lost = () => place.server.metric("roomcast_closes_total", 'code="3012"');

  /** What must hold once Bob is back under another id: nothing missed, nobody counted twice. */
  async function assertBack(room, { ann, bob, here, member }, id) {
    await until(() => member.entered.length === 2, "the return");
    assert.equal(member.entered[1].recovered, true);
    assert.notEqual(bob.id, id);
    await until(() => joinsOf(here, bob.id).length === 1, "the join after the return");
    assert.deepEqual(await present(ann, room), [ann.id, bob.id].sort());
    assert.deepEqual(await present(bob, room), [ann.id, bob.id].sort());
    await ann.publish(room, "after");
    await member.heard(2);
    assert.deepEqual(member.data, ["meanwhile", "after"]);
    assert.equal(joinsOf(here, id).length, 1);
    assert.equal(leavesOf(here, id).length, 1);
    assert.equal(leavesOf(here, bob.id).length, 0);
    assert.equal(ann.connected.length, 1);
  }

  test("a connection that is reset is gone at once, for both sides", async (t) => {
    const visit = await pair(t, "reset");
    const { proxy, ann, bob, here } = visit;
    const { id } = bob;
    proxy.cut("reset");
    await until(() => bob.connecting.length === 2, "Bob to notice");
    assert.equal(bob.connecting[1].code, TRANSPORT_CLOSED);
    await until(() => leavesOf(here, id).length === 1, "the server to notice");
    assert.deepEqual(await present(ann, "reset"), [ann.id]);
    await ann.publish("reset", "meanwhile");
    proxy.restore();
    await assertBack("reset", visit, id);
  });

  test("a connection on which nothing moves any more is noticed by both sides", async (t) => {
    const visit = await pair(t, "stall");
    const { proxy, ann, bob, here } = visit;
    const { id } = bob;
    const before = await lost();
    proxy.cut("stall");
    await until(() => bob.connecting.length === 2, "Bob to notice");
    assert.equal(bob.connecting[1].code, NO_PING);
    await until(() => leavesOf(here, id).length === 1, "the server to notice");
    // It is counted after everybody was told.
    await until(async () => (await lost()) > before, "the count");
    assert.equal(await lost(), before + 1);
    assert.deepEqual(await present(ann, "stall"), [ann.id]);
    await ann.publish("stall", "meanwhile");
    proxy.restore();
    await assertBack("stall", visit, id);
  });

  test("a connection whose other side is gone without a word is noticed by the server", async (t) => {
    const visit = await pair(t, "half");
    const { proxy, ann, bob, here } = visit;
    const { id } = bob;
    const before = await lost();
    proxy.cut("half-open");
    await until(() => bob.connecting.length === 2, "Bob to notice");
    assert.equal(bob.connecting[1].code, TRANSPORT_CLOSED);
    await until(() => leavesOf(here, id).length === 1, "the server to notice");
    // It is counted after everybody was told.
    await until(async () => (await lost()) > before, "the count");
    assert.equal(await lost(), before + 1);
    assert.deepEqual(await present(ann, "half"), [ann.id]);
    await ann.publish("half", "meanwhile");
    proxy.restore();
    await assertBack("half", visit, id);
  });

  test("two tabs of one browser are two clients of one user, and one may go", async (t) => {
    const tabs = [await Person.connect(t, place, "Ann"), await Person.connect(t, place, "Ann")];
    const members = [await tabs[0].enter("tabs"), await tabs[1].enter("tabs")];
    await Promise.all(tabs.map((tab, n) => tab.publish("tabs", n)));
    await Promise.all(members.map((member) => member.heard(2)));
    assert.deepEqual(members[0].data, members[1].data);
    assert.deepEqual([...members[0].data].sort(), [0, 1]);
    assert.deepEqual(await tabs[0].presenceStats("tabs"), { numClients: 2, numUsers: 1 });
    tabs[0].client.disconnect();
    await until(() => leavesOf(members[1], tabs[0].id).length === 1, "the leave");
    assert.deepEqual(await present(tabs[1], "tabs"), [tabs[1].id]);
    await tabs[1].publish("tabs", 2);
    await members[1].heard(3);
    assert.equal(members[0].publications.length, 2);
    assert.equal(tabs[1].connected.length, 1);
  });

  test("a client whose process is killed is gone from the room", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const here = await ann.enter("killed");
    const visitor = await Visitor.start(t, place, "killed");
    const [{ id }] = visitor.entered;
    await until(() => joinsOf(here, id).length === 1, "the join");
    assert.deepEqual(await present(ann, "killed"), [ann.id, id].sort());
    visitor.kill("SIGKILL");
    await until(() => leavesOf(here, id).length === 1, "the leave");
    assert.deepEqual(await present(ann, "killed"), [ann.id]);
    await ann.publish("killed", "still here");
    await here.heard(1);
    assert.equal(leavesOf(here, id).length, 1);
  });

  test("a client whose machine sleeps is taken for gone, and misses nothing when it wakes", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const here = await ann.enter("asleep");
    const visitor = await Visitor.start(t, place, "asleep");
    const [{ id }] = visitor.entered;
    await until(() => joinsOf(here, id).length === 1, "the join");
    visitor.kill("SIGSTOP");
    await until(() => leavesOf(here, id).length === 1, "the leave");
    assert.deepEqual(await present(ann, "asleep"), [ann.id]);
    await ann.publishNumbers("asleep", 50);
    visitor.kill("SIGCONT");
    await until(() => visitor.entered.length === 2, "the return");
    assert.equal(visitor.entered[1].recovered, true);
    await until(() => visitor.heard.length === 50, "what was missed");
    assert.deepEqual(visitor.heard, range(0, 50));
    assert.deepEqual(await present(ann, "asleep"), [ann.id, visitor.entered[1].id].sort());
  });
}, { config: CONFIG, isWaiting: true });
