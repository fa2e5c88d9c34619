// Deltas and filters at the JavaScript SDK: what it makes of them is what was published.

import assert from "node:assert/strict";
import { Person, range } from "./people.mjs";
import { onEveryWay } from "./suites.mjs";
import { until } from "./until.mjs";

const CONFIG = `
[client]
recovery_max_publication_limit = 2000

[http_api]
key = "secret"

[channel.without_namespace]
history_size = 2000
allowed_delta_types = ["fossil"]
delta_publish = true
allow_tags_filter = true

[[channel.namespaces]]
name = "quiet"
echo = "not_client"
`;

/** A document that changes a little from one to the next, and now and then a lot. */
function state(number) {
  const words = range(0, 40).map((nth) => `word ${(number % 97 === 0 ? number : 0) + nth}`);
  return { number, title: `Straße "${number % 7}" 😀`, words };
}

onEveryWay((place, test) => {
  const publish = async (channel, data, more = {}) => {
    const headers = { "X-API-Key": "secret" };
    const body = JSON.stringify({ channel, data, ...more });
    const response = await fetch(`http://127.0.0.1:${place.port}/api/publish`, { method: "POST", headers, body });
    assert.equal(response.status, 200);
    const { error } = await response.json();
    assert.equal(error, undefined);
  };
  const publishAll = async (room, numbers) => {
    for (const number of numbers) await publish(room, state(number));
  };

  test("a long run of deltas is what was published, across cut connections and left rooms", async (t) => {
    const bob = await Person.connect(t, place, "Bob");
    const plain = await Person.connect(t, place, "Eve");
    const other = await plain.enter("run");
    const member = await bob.enter("run", { delta: "fossil" });
    let published = 0;
    for (const round of range(0, 6)) {
      await publishAll("run", range(published, published + 60));
      published += 60;
      await until(() => member.publications.length === published, "the publications");
      if (round % 2 === 0) {
        const entered = member.entered.length;
        bob.client.disconnect();
        await publishAll("run", range(published, published + 20));
        published += 20;
        bob.client.connect();
        await until(() => member.entered.length > entered, "the return");
      } else {
        member.subscription.unsubscribe();
        await publishAll("run", range(published, published + 20));
        published += 20;
        member.subscription.subscribe();
        await member.subscription.ready();
      }
      assert.equal(member.entered.at(-1).recovered, true);
    }
    await publishAll("run", range(published, published + 10));
    published += 10;
    await until(() => member.publications.length === published, "the rest");
    assert.deepEqual(member.data, range(0, published).map(state));
    assert.deepEqual(member.offsets, range(1, published + 1));
    await until(() => other.publications.length === published, "the others");
    assert.deepEqual(other.data, member.data);
    const { numDeltaPayloads, numFullPayloads, compressionRatio } = member.subscription.deltaStats();
    assert.equal(numDeltaPayloads + numFullPayloads, published);
    assert.ok(numDeltaPayloads > 0.9 * published, `${numDeltaPayloads} deltas of ${published}`);
    assert.ok(compressionRatio > 0.7, `${compressionRatio}`);
  });

  test("who brings a filter is given what matches it, live and recovered", async (t) => {
    const bob = await Person.connect(t, place, "Bob");
    const tagsFilter = { op: "or", nodes: [{ key: "n", cmp: "lt", val: "10" }, { key: "kind", cmp: "in", vals: ["a", "c"] }] };
    const member = await bob.enter("tags", { tagsFilter });
    const say = async (numbers) => {
      for (const n of numbers) await publish("tags", n, { tags: { n: `${n}`, kind: "abcd"[n % 4] } });
    };
    const matching = (numbers) => numbers.filter((n) => n < 10 || n % 2 === 0);
    await say(range(0, 50));
    const first = matching(range(0, 50));
    await until(() => member.publications.length === first.length, "what matches");
    assert.deepEqual(member.data, first);
    const entered = member.entered.length;
    bob.client.disconnect();
    await say(range(50, 100));
    bob.client.connect();
    await until(() => member.entered.length > entered, "the return");
    assert.equal(member.entered.at(-1).recovered, true);
    await say(range(100, 110));
    const all = matching(range(0, 110));
    await until(() => member.publications.length === all.length, "the rest");
    assert.deepEqual(member.data, all);
    assert.deepEqual(member.offsets, all.map((n) => n + 1));
    member.subscription.unsubscribe();
    member.subscription.setTagsFilter({ key: "n", cmp: "eq", val: "111" });
    member.subscription.subscribe();
    await member.subscription.ready();
    await say(range(110, 115));
    await until(() => member.publications.length === all.length + 1, "the one");
    assert.equal(member.data.at(-1), 111);
  });

  test("who is not to hear itself is given what the others say", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const bob = await Person.connect(t, place, "Bob");
    const [first, second] = [await ann.enter("quiet:1"), await bob.enter("quiet:1", { delta: "fossil" })];
    await Promise.all([ann.publishNumbers("quiet:1", 100), bob.publishNumbers("quiet:1", 100, 1000)]);
    await first.heard(100);
    await second.heard(100);
    assert.deepEqual(first.data, range(1000, 1100));
    assert.deepEqual(second.data, range(0, 100));
  });
}, { config: CONFIG });
