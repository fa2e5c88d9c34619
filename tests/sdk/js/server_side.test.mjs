// Rooms that the server puts every client into: the SDK tells of them by events of the client, and there is no
// subscription.

import assert from "node:assert/strict";
import { Person, range } from "./people.mjs";
import { Server } from "./server.mjs";
import { onEveryWay } from "./suites.mjs";
import { until } from "./until.mjs";

const CONFIG = `
[client]
subscribe_on_connect = ["news", "short:1"]

[[channel.namespaces]]
name = "short"
history_size = 10
`;

onEveryWay((place, test) => {
  const of = (contexts, room) => contexts.filter((context) => context.channel === room);
  const heardIn = (person, room) => of(person.served.publication, room);
  const idsIn = (contexts, room) => of(contexts, room).map((context) => context.info.client);

  /** Publishes as somebody who is none of the people of the test. */
  async function publish(t, room, data) {
    const editor = await Person.connect(t, place, "editor");
    for (const each of data) await editor.publish(room, each);
    editor.client.disconnect();
  }

  async function reconnect(person) {
    const subscribed = of(person.served.subscribed, "news").length;
    person.client.connect();
    await until(() => of(person.served.subscribed, "news").length > subscribed, "the room");
    return of(person.served.subscribed, "news").at(-1);
  }

  test("whoever connects is in them, and is told", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    assert.deepEqual(ann.served.subscribed.map((context) => context.channel).sort(), ["news", "short:1"]);
    for (const context of ann.served.subscribed) {
      assert.equal(context.recoverable, true);
      assert.equal(context.positioned, true);
      assert.equal(context.wasRecovering, false);
      assert.ok(context.streamPosition.epoch.length > 0);
    }
    const { clients } = await ann.presence("news");
    assert.deepEqual(clients[ann.id], { client: ann.id, user: "", connInfo: { name: "Ann" } });
  });

  test("they hear everybody there, and who comes and goes", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const bob = await Person.connect(t, place, "Bob");
    await until(() => idsIn(ann.served.join, "news").includes(bob.id), "the join");
    for (const n of range(0, 20)) await bob.publish("news", n);
    await until(() => heardIn(ann, "news").length === 20, "the news");
    const heard = heardIn(ann, "news");
    assert.deepEqual(heard.map(({ data }) => data), range(0, 20));
    const [{ offset }] = heard;
    assert.deepEqual(heard.map((publication) => publication.offset), range(offset, offset + 20));
    assert.deepEqual(heard[0].info, { client: bob.id, user: "", connInfo: { name: "Bob" } });
    assert.deepEqual(heardIn(ann, "short:1"), []);
    bob.client.disconnect();
    await until(() => idsIn(ann.served.leave, "news").includes(bob.id), "the leave");
    const once = (contexts) => idsIn(contexts, "news").filter((id) => id === bob.id).length;
    assert.deepEqual([once(ann.served.join), once(ann.served.leave)], [1, 1]);
  });

  test("who comes back has missed nothing, by will or by loss", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    await publish(t, "news", range(0, 5));
    await until(() => heardIn(ann, "news").length === 5, "the first news");
    ann.client.disconnect();
    await publish(t, "news", range(5, 105));
    const context = await reconnect(ann);
    assert.equal(context.wasRecovering, true);
    assert.equal(context.recovered, true);
    await until(() => heardIn(ann, "news").length === 105, "what was missed");
    ann.cut();
    await publish(t, "news", range(105, 110));
    await until(() => heardIn(ann, "news").length === 110, "the latest");
    assert.deepEqual(heardIn(ann, "news").map(({ data }) => data), range(0, 110));
    assert.ok(of(ann.served.subscribed, "news").slice(1).every(({ recovered }) => recovered));
    assert.equal(of(ann.served.subscribing, "news").length, 2);
  });

  test("who has missed more than is kept is told, in that room alone", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    await publish(t, "short:1", ["seen"]);
    await publish(t, "news", ["seen"]);
    await until(() => ann.served.publication.length === 2, "the first");
    ann.client.disconnect();
    await publish(t, "short:1", range(0, 11));
    await publish(t, "news", range(0, 11));
    const news = await reconnect(ann);
    const short = of(ann.served.subscribed, "short:1").at(-1);
    assert.equal(news.recovered, true);
    assert.equal(short.wasRecovering, true);
    assert.equal(short.recovered, false);
    await publish(t, "short:1", ["live"]);
    await until(() => heardIn(ann, "short:1").length === 2 && heardIn(ann, "news").length === 12, "the rest");
    assert.deepEqual(heardIn(ann, "short:1").map(({ data }) => data), ["seen", "live"]);
  });

  test("entering one of them oneself is refused with 105, any other room is entered as ever", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const again = ann.member("news");
    again.subscription.subscribe();
    await until(() => again.left.length === 1, "the refusal");
    assert.equal(again.left[0].code, 105);
    const hall = await ann.enter("hall");
    await hall.publish("here");
    await hall.heard(1);
    assert.deepEqual(heardIn(ann, "hall"), []);
  });

  test("after a restart of the server their new life is told", async (t) => {
    const first = await Server.start({ config: CONFIG });
    const ann = await Person.connect(t, { way: place.way, port: first.port }, "Ann");
    await ann.publish("news", "old");
    await until(() => heardIn(ann, "news").length === 1, "the old news");
    await first.stop();
    const second = await Server.start({ config: CONFIG, port: first.port });
    t.after(() => second.stop());
    await until(() => of(ann.served.subscribed, "news").length === 2, "the room on the next server");
    const [before, after] = of(ann.served.subscribed, "news");
    assert.equal(after.wasRecovering, true);
    assert.equal(after.recovered, false);
    assert.notEqual(after.streamPosition.epoch, before.streamPosition.epoch);
    await ann.publish("news", "new");
    await until(() => heardIn(ann, "news").length === 2, "the new news");
    assert.deepEqual(heardIn(ann, "news").map(({ data, offset }) => [data, offset]), [["old", 1], ["new", 1]]);
  });
}, { config: CONFIG });
