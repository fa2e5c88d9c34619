// The past of a room by the JavaScript SDK.

import assert from "node:assert/strict";
import { Person, range } from "./people.mjs";
import { onEveryWay } from "./suites.mjs";

const CONFIG = `
[client]
history_max_publication_limit = 100

[[channel.namespaces]]
name = "short"
history_size = 10

[[channel.namespaces]]
name = "brief"
history_ttl = "1s"
`;

onEveryWay((place, test) => {
  const offsets = (history) => history.publications.map((publication) => publication.offset);

  test("a limit of zero asks for the position alone, one below zero for as much as one reply holds", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    await ann.publishNumbers("past", 150);
    const position = await ann.history("past", { limit: 0 });
    assert.deepEqual(position.publications, []);
    assert.equal(position.offset, 150);
    assert.ok(position.epoch.length > 0);
    const all = await ann.history("past", { limit: -1 });
    assert.deepEqual(offsets(all), range(1, 101));
    assert.deepEqual(all.publications.map((publication) => publication.data), range(0, 100));
    assert.deepEqual(all.publications[0].info, { client: ann.id, user: "", connInfo: { name: "Ann" } });
    assert.equal(all.epoch, position.epoch);
    const many = await ann.history("past", { limit: 5000 });
    assert.equal(many.publications.length, 100);
  });

  test("the history is read from either end and from anywhere, without what stands at the position", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const member = await ann.enter("window");
    await ann.publishNumbers("window", 20);
    const read = (options) => member.history(options);
    const { epoch } = await read({ limit: 0 });
    assert.deepEqual(offsets(await read({ limit: 3 })), [1, 2, 3]);
    assert.deepEqual(offsets(await read({ limit: 3, reverse: true })), [20, 19, 18]);
    assert.deepEqual(offsets(await read({ limit: 3, since: { offset: 5, epoch } })), [6, 7, 8]);
    assert.deepEqual(offsets(await read({ limit: 3, since: { offset: 5, epoch }, reverse: true })), [4, 3, 2]);
    assert.deepEqual(offsets(await read({ limit: 10, since: { offset: 18, epoch } })), [19, 20]);
    assert.deepEqual(offsets(await read({ limit: 10, since: { offset: 20, epoch } })), []);
  });

  test("all pages together are the whole", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    await ann.publishNumbers("pages", 95);
    const { epoch } = await ann.history("pages", { limit: 0 });
    let since = { offset: 0, epoch };
    const seen = [];
    for (;;) {
      const page = await ann.history("pages", { limit: 10, since });
      if (page.publications.length === 0) break;
      seen.push(...page.publications.map((publication) => publication.data));
      since = { offset: page.publications.at(-1).offset, epoch };
    }
    assert.deepEqual(seen, range(0, 95));
  });

  test("a position of another life of the room is refused with 112", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    await ann.publishNumbers("lives", 5);
    const since = { offset: 1, epoch: "another" };
    await assert.rejects(ann.history("lives", { limit: 5, since }), { code: 112 });
  });

  test("a room keeps as many as its namespace says", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    await ann.publishNumbers("short:1", 25);
    const all = await ann.history("short:1", { limit: -1 });
    assert.deepEqual(offsets(all), range(16, 26));
    assert.equal(all.offset, 25);
  });

  test("a room nobody has spoken in has a position and no past", async (t) => {
    const ann = await Person.connect(t, place, "Ann");
    const { publications, offset, epoch } = await ann.history("silent", { limit: -1 });
    assert.deepEqual(publications, []);
    assert.equal(offset, 0);
    const member = await ann.enter("silent");
    assert.deepEqual(member.entered[0].streamPosition, { offset, epoch });
  });
}, { config: CONFIG });
