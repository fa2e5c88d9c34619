// Payloads between people on different ways: JSON for those who speak JSON, bytes for those who speak Protobuf.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { Person, range } from "./people.mjs";
import { Raw } from "./raw.mjs";
import { Server } from "./server.mjs";
import { until } from "./until.mjs";
import { WAYS } from "./ways.mjs";

const JSON_WAYS = WAYS.filter((way) => way.encoding === "json");
const PROTOBUF_WAYS = WAYS.filter((way) => way.encoding === "protobuf");

let server;
before(async () => (server = await Server.start()));
after(() => server.stop());

const connect = (t, way, name = way.name) => Person.connect(t, { way, port: server.port }, name);
const bytesOf = (text) => Buffer.from(text, "utf8");
const base64 = (bytes) => Buffer.from(bytes).toString("base64");

/** Notes what the SDK hands out in a room, untouched: values in JSON, bytes in Protobuf. */
async function listen(person, room) {
  const heard = [];
  const subscription = person.client.newSubscription(room);
  subscription.on("publication", ({ data }) => heard.push(data instanceof Uint8Array ? Buffer.from(data) : data));
  subscription.subscribe();
  await subscription.ready();
  return heard;
}

/** Listeners on all ways of the room, and someone at Protobuf who publishes these bytes into it, one after the other. */
async function publishBytes(t, room, payloads) {
  const listeners = await Promise.all(WAYS.map((way) => connect(t, way)));
  const heard = await Promise.all(listeners.map((person) => listen(person, room)));
  const author = await connect(t, PROTOBUF_WAYS[0], "author");
  for (const payload of payloads) await author.client.publish(room, payload);
  await until(() => heard.every(({ length }) => length === payloads.length), "everybody to hear everything");
  return { listeners, heard: (encoding) => heard.filter((_, n) => WAYS[n].encoding === encoding) };
}

test("people on every way are in one room: all hear all, in one order, and see each other", async (t) => {
  const people = await Promise.all(WAYS.map((way) => connect(t, way)));
  const members = await Promise.all(people.map((person) => person.enter("all")));
  await Promise.all(
    people.map(async (person, author) => {
      for (const n of range(0, 20)) await person.publish("all", { author, n, text: "ž 日本 🦀" });
    }),
  );
  const total = 20 * WAYS.length;
  for (const member of members) {
    await member.heard(total);
    assert.deepEqual(member.offsets, range(1, total + 1));
    assert.deepEqual(member.data, members[0].data);
    for (const { data, info } of member.publications) {
      assert.deepEqual(info, { client: people[data.author].id, user: "", connInfo: { name: WAYS[data.author].name } });
      assert.equal(data.text, "ž 日本 🦀");
    }
  }
  const infos = people.map((person, n) => ({ client: person.id, user: "", connInfo: { name: WAYS[n].name } }));
  const present = Object.fromEntries(infos.map((info) => [info.client, info]));
  for (const person of people) {
    assert.deepEqual((await person.presence("all")).clients, present);
    assert.deepEqual(await person.presenceStats("all"), { numClients: WAYS.length, numUsers: 1 });
  }
  const histories = await Promise.all(people.map((person) => person.history("all", { limit: -1 })));
  for (const { publications, offset, epoch } of histories) {
    assert.deepEqual(publications.map(({ data }) => data), members[0].data);
    assert.deepEqual(publications.map(({ info }) => info), members[0].publications.map(({ info }) => info));
    assert.deepEqual({ offset, epoch }, { offset: total, epoch: histories[0].epoch });
  }
  const last = people.at(-1).id;
  people.at(-1).client.disconnect();
  for (const member of members.slice(0, -1)) {
    await until(() => member.leaves.some((info) => info.client === last), "the leave");
    assert.deepEqual(member.leaves, [infos.at(-1)]);
  }
});

test("bytes that are no JSON arrive byte for byte at Protobuf, and as base64 at JSON", async (t) => {
  const payloads = [
    Buffer.from([0]),
    Buffer.from([0xff, 0xfe, 0x0a, 0x0d, 0x00]),
    Buffer.from(range(0, 256)),
    randomBytes(40_000),
    // Nearly JSON.
    bytesOf("hello"),
    bytesOf("nul"),
    bytesOf('{"a":1'),
    bytesOf("1 2"),
    bytesOf("{}\n{}"),
    bytesOf(" \n"),
    Buffer.from([0x22, 0xff, 0x22]),
    Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), bytesOf("{}")]),
  ];
  const { heard } = await publishBytes(t, "bytes", payloads);
  for (const bytes of heard("protobuf")) assert.deepEqual(bytes, payloads);
  for (const values of heard("json")) assert.deepEqual(values, payloads.map(base64));
});

test("bytes that are JSON arrive as that JSON, and at Protobuf with every space", async (t) => {
  const texts = ['{"a" : [1,\n 2],\r\n\t"b": "line\\nline \\u00e9"}', " null ", "0", '""', '"日本 🦀"', "[\n]", "-1.50e+2"];
  const { heard } = await publishBytes(t, "text", texts.map(bytesOf));
  for (const bytes of heard("protobuf")) assert.deepEqual(bytes.map(String), texts);
  for (const values of heard("json")) assert.deepEqual(values, texts.map((text) => JSON.parse(text)));
});

test("history and recovery give each the same as those who were there", async (t) => {
  const payloads = [Buffer.from([1, 2, 3, 0xff]), bytesOf('{"a" : 1}'), randomBytes(1000)];
  const values = [base64(payloads[0]), { a: 1 }, base64(payloads[2])];
  const away = await Promise.all(WAYS.map((way) => connect(t, way)));
  const missed = await Promise.all(away.map((person) => listen(person, "past")));
  for (const person of away) person.client.disconnect();
  const { listeners } = await publishBytes(t, "past", payloads);
  for (const [n, { encoding }] of WAYS.entries()) {
    const expected = encoding === "json" ? values : payloads;
    const { publications } = await listeners[n].client.history("past", { limit: -1 });
    const past = publications.map(({ data }) => (encoding === "json" ? data : Buffer.from(data)));
    assert.deepEqual(past, expected);
    away[n].client.connect();
    await until(() => missed[n].length === payloads.length, "what was missed");
    assert.deepEqual(missed[n], expected);
  }
});

test("numbers keep every digit between the encodings", async (t) => {
  const text = '{"big":12345678901234567890.10,"e":1E+2}';
  const raw = await Raw.connect(t, server);
  await raw.ask(2, "subscribe", { channel: "digits" });
  const ann = await connect(t, PROTOBUF_WAYS[0]);
  const heard = await listen(ann, "digits");
  await ann.client.publish("digits", bytesOf(text));
  raw.text(`{"id":3,"publish":{"channel":"digits","data":${text}}}`);
  await until(() => heard.length === 2, "both");
  assert.deepEqual(heard.map(String), [text, text]);
  await until(() => raw.frames.filter((frame) => frame.includes('"pub"')).length > 0, "the push");
  assert.equal(raw.frames.join("\n").split(`"data":${text}`).length - 1, 2);
});

test("no bytes are no message: 107", async (t) => {
  for (const way of PROTOBUF_WAYS) {
    const ann = await connect(t, way);
    await assert.rejects(ann.client.publish("nothing", new Uint8Array()), { code: 107 });
    assert.equal((await ann.client.history("nothing", { limit: 0 })).offset, 0);
  }
});

test("what a client at Protobuf says of itself is its name, or nothing", async (t) => {
  const ann = await connect(t, JSON_WAYS[0], "Ann");
  const member = await ann.enter("names");
  for (const way of PROTOBUF_WAYS) {
    const { length } = member.publications;
    const bob = await connect(t, way, "Bob");
    await bob.publish("names", 1);
    const eve = await Person.connect(t, { way, port: server.port }, "Eve", { data: 7 });
    await eve.publish("names", 2);
    await member.heard(length + 2);
    const infos = member.publications.slice(length).map(({ info }) => info);
    assert.deepEqual(infos, [{ client: bob.id, user: "", connInfo: { name: "Bob" } }, { client: eve.id, user: "" }]);
  }
});
