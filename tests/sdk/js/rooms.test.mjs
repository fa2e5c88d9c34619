// Life in rooms by the JavaScript SDK: coming and going, publishing, hearing, seeing who is there.

import assert from "node:assert/strict";
import { Person, range } from "./people.mjs";
import { onEveryWay } from "./suites.mjs";
import { until } from "./until.mjs";

onEveryWay((place, test) => {
  test("everybody in a room hears everybody, themselves included, in one order and with the author", async (t) => {
    const people = await Promise.all(["Ann", "Bob", "Cem"].map((name) => Person.connect(t, place, name)));
    const members = await Promise.all(people.map((person) => person.enter("order")));
    await Promise.all(
      people.map(async (person, author) => {
        for (const n of range(0, 50)) await person.publish("order", { author, n });
      }),
    );
    for (const member of members) {
      await member.heard(150);
      assert.deepEqual(member.offsets, range(1, 151));
      assert.deepEqual(member.data, members[0].data);
      for (const { data, info } of member.publications) {
        assert.equal(info.client, people[data.author].id);
        assert.equal(info.user, "");
        assert.deepEqual(info.connInfo, { name: ["Ann", "Bob", "Cem"][data.author] });
      }
    }
    for (const author of [0, 1, 2]) {
      const numbers = members[0].data.filter((data) => data.author === author).map((data) => data.n);
      assert.deepEqual(numbers, range(0, 50), "an author's messages keep their order");
    }
  });

  test("a message arrives as it was sent, whatever JSON it is", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const bob = await Person.connect(t, place, "Bob");
    const member = await bob.enter("json");
    const messages = [
      null, false, true, 0, -1.5e-7, 2 ** 53 - 1, "", "line\nline\r\u2028\u0000", "\"\\/", "ž 日本 🦀 \u{10ffff}",
      [], {}, [[[]]], { "": { deep: [1, { "key with \"quotes\"": null }] } }, { id: 1, push: {}, error: { code: 1 } },
      "x".repeat(30_000),
    ];
    for (const message of messages) await ann.publish("json", message);
    await member.heard(messages.length);
    assert.deepEqual(member.data, messages);
  });

  test("who publishes without being in the room is heard in it", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const bob = await Person.connect(t, place, "Bob");
    const member = await bob.enter("outside");
    await ann.publishNumbers("outside", 10);
    await member.heard(10);
    assert.deepEqual(member.data, range(0, 10));
  });

  test("rooms keep apart what is said in them", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const bob = await Person.connect(t, place, "Bob");
    const [red, blue] = [await bob.enter("red"), await bob.enter("blue")];
    await ann.enter("red");
    for (const n of range(0, 20)) {
      await ann.publish("red", `red ${n}`);
      await ann.publish("blue", `blue ${n}`);
    }
    await Promise.all([red.heard(20), blue.heard(20)]);
    assert.deepEqual(red.data, range(0, 20).map((n) => `red ${n}`));
    assert.deepEqual(blue.data, range(0, 20).map((n) => `blue ${n}`));
    assert.deepEqual(blue.offsets, range(1, 21), "each room counts for itself");
  });

  test("a client may be in as many rooms as the limit says", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const members = await Promise.all(range(0, 128).map((n) => ann.enter(`many ${n}`)));
    await Promise.all(members.map((member, n) => member.publish(n)));
    await Promise.all(members.map((member) => member.heard(1)));
    assert.deepEqual(members.map((member) => member.data), range(0, 128).map((n) => [n]));
  });

  test("entering and leaving a room many times misses nothing said while in it", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const bob = await Person.connect(t, place, "Bob");
    for (const round of range(0, 50)) {
      const member = await bob.enter("loop");
      await ann.publish("loop", round);
      await member.heard(1);
      member.subscription.unsubscribe();
      bob.client.removeSubscription(member.subscription);
      await ann.publish("loop", "nobody hears this");
      assert.deepEqual(member.data, [round]);
    }
    // Bob's last leaving and Ann's question come by different connections.
    await until(async () => (await ann.presenceStats("loop")).numClients === 0, "the last leaving to show");
  });

  test("leaving right after connecting, or right after entering, leaves nobody behind", async (t) => {
    for (const round of range(0, 20)) {
      const ann = new Person(place, "Ann");
      t.after(() => ann.client.disconnect());
      const member = ann.member("brief");
      ann.client.connect();
      member.subscription.subscribe();
      if (round % 2 === 0) await ann.client.ready();
      member.subscription.unsubscribe();
      const other = await ann.enter("stay");
      await other.publish(round);
      await until(() => other.data.includes(round), "the own message");
      assert.equal(ann.client.state, "connected");
      await until(async () => (await ann.presenceStats("brief")).numClients === 0, "nobody to be there");
    }
  });

  test("presence shows who is in the room, by connection", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const bob = await Person.connect(t, place, "Bob");
    const member = await ann.enter("seen");
    const left = await bob.enter("seen");
    const { clients } = await member.presence();
    assert.deepEqual(Object.keys(clients).sort(), [ann.id, bob.id].sort());
    assert.equal(clients[bob.id].client, bob.id);
    assert.equal(clients[bob.id].user, "");
    assert.deepEqual(clients[bob.id].connInfo, { name: "Bob" });
    // Both are the same user, the anonymous one.
    assert.deepEqual(await member.presenceStats(), { numClients: 2, numUsers: 1 });
    left.subscription.unsubscribe();
    await until(async () => (await ann.presenceStats("seen")).numClients === 1, "the leaving to show");
    assert.deepEqual(Object.keys((await ann.presence("seen")).clients), [ann.id]);
    assert.deepEqual(await ann.presence("empty"), { clients: {} });
  });

  test("members see others come and go, by will and by loss", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const member = await ann.enter("doors");
    const bob = await Person.connect(t, place, "Bob");
    const visit = await bob.enter("doors");
    const others = (infos) => infos.filter((info) => info.client !== ann.id).map((info) => info.client);
    await until(() => others(member.joins).length === 1, "the join");
    assert.deepEqual(member.joins.at(-1), { client: bob.id, user: "", connInfo: { name: "Bob" } });
    visit.subscription.unsubscribe();
    await until(() => others(member.leaves).length === 1, "the leave");
    visit.subscription.subscribe();
    await until(() => others(member.joins).length === 2, "the second join");
    const [id] = [bob.id];
    bob.cut();
    await until(() => others(member.leaves).length === 2, "the loss");
    assert.deepEqual(others(member.leaves), [id, id]);
    await until(() => others(member.joins).length === 3, "the return");
    // Ann may hear of him before he hears who he is.
    await until(() => bob.id !== id, "Bob's new id");
    assert.equal(others(member.joins)[2], bob.id);
  });

  test("names are cut, cleaned and never more than a name", async (t) => {
    const ann = await Person.connect(t, place, `  A\u0007nn${"n".repeat(100)} `);
    const member = await ann.enter("names");
    await member.publish(1);
    await member.heard(1);
    assert.deepEqual(member.publications[0].info.connInfo, { name: `Ann${"n".repeat(61)}` });
    const nobody = await Person.connect(t, place, "x", { data: { name: 7, admin: true } });
    await nobody.publish("names", 2);
    await member.heard(2);
    assert.deepEqual(member.publications[1].info, { client: nobody.id, user: "" });
  });
});
