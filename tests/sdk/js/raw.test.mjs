// The wire itself: what the server writes to the letter, and what it does not let pass. No SDK in between.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Person, range } from "./people.mjs";
import { isPing, Raw, sendBytes, textFrame } from "./raw.mjs";
import { Server } from "./server.mjs";
import { until } from "./until.mjs";
import { WAYS } from "./ways.mjs";

const CONFIG = `
[[channel.namespaces]]
name = "quiet"
force_push_join_leave = false
force_recovery = false
force_positioning = false
`;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

let server;
before(async () => (server = await Server.start({ config: CONFIG })));
after(() => server.stop());

test("a connect reply names the client, the server and the heartbeat", async (t) => {
  const raw = await Raw.open(t, server);
  raw.text('{"connect":{"name":"js","version":"1","token":"","data":{"name":"Ann"},"headers":{},"flag":1},"id":1}');
  const { id, connect, ...rest } = await raw.next();
  assert.equal(id, 1);
  assert.deepEqual(rest, {});
  assert.deepEqual(Object.keys(connect).sort(), ["client", "node", "ping", "pong", "session", "version"]);
  assert.match(connect.client, UUID);
  assert.match(connect.version, /^\d+\.\d+\.\d+/);
  assert.equal(connect.ping, 3600);
  assert.equal(connect.pong, true);
  assert.ok(connect.session.length >= 16, "a session's name is a secret");
  assert.ok(connect.node.length > 0);
  const other = await Raw.open(t, server);
  const { connect: second } = await other.ask(1, "connect", {});
  assert.equal(second.node, connect.node);
  assert.notEqual(second.session, connect.session);
});

test("each reply has the shape that the protocol names", async (t) => {
  const raw = await Raw.connect(t, server);
  const { subscribe } = await raw.ask(2, "subscribe", { channel: "shape", flag: 1 });
  const { epoch } = subscribe;
  assert.equal(typeof epoch, "string");
  // An offset of zero is left out, as the reference encoder does.
  assert.deepEqual(subscribe, { recoverable: true, positioned: true, epoch });
  assert.deepEqual(await raw.ask(3, "publish", { channel: "shape", data: { t: "hi" } }), { id: 3, publish: {} });
  const { history } = await raw.ask(4, "history", { channel: "shape", limit: 10, since: { offset: 0, epoch } });
  const info = { user: "", client: raw.id, conn_info: { name: "Ann" } };
  const [{ time }] = history.publications;
  assert.ok(Number.isSafeInteger(time) && time > 1_700_000_000_000, "milliseconds since 1970");
  assert.deepEqual(history, { publications: [{ data: { t: "hi" }, info, offset: 1, time }], epoch, offset: 1 });
  assert.deepEqual(await raw.ask(5, "presence", { channel: "shape" }), {
    id: 5,
    presence: { presence: { [raw.id]: info } },
  });
  assert.deepEqual(await raw.ask(6, "presence_stats", { channel: "shape" }), {
    id: 6,
    presence_stats: { num_clients: 1, num_users: 1 },
  });
  assert.deepEqual(await raw.ask(7, "unsubscribe", { channel: "shape" }), { id: 7, unsubscribe: {} });
  assert.deepEqual(await raw.ask(8, "ping", {}), { id: 8, ping: {} });
  const again = { channel: "shape", recover: true, offset: 0, epoch, recoverable: true, positioned: true };
  assert.deepEqual(await raw.ask(9, "subscribe", again), {
    id: 9,
    subscribe: {
      recoverable: true,
      positioned: true,
      epoch,
      // Where it recovered from: nought, which is left out.
      publications: [{ data: { t: "hi" }, info, offset: 1, time }],
      was_recovering: true,
      recovered: true,
    },
  });
  assert.deepEqual(await raw.ask(10, "history", { channel: "shape", limit: 0 }), {
    id: 10,
    history: { publications: [], epoch, offset: 1 },
  });
  assert.deepEqual(await raw.ask(11, "presence_stats", { channel: "nobody" }), {
    id: 11,
    presence_stats: { num_clients: 0, num_users: 0 },
  });
});

test("each push has the shape that the protocol names", async (t) => {
  const ann = await Raw.connect(t, server, "Ann");
  await ann.ask(2, "subscribe", { channel: "push" });
  const bob = await Raw.connect(t, server, "Bob");
  const info = { user: "", client: bob.id, conn_info: { name: "Bob" } };
  await bob.ask(2, "subscribe", { channel: "push" });
  const fromBob = (push) => push.join?.info.client === bob.id || push.leave?.info.client === bob.id || push.pub;
  const next = async () => {
    for (;;) {
      const { push, ...rest } = await ann.next();
      assert.deepEqual(rest, {});
      if (fromBob(push)) return push;
    }
  };
  assert.deepEqual(await next(), { channel: "push", join: { info } });
  await bob.ask(3, "publish", { channel: "push", data: [1] });
  const publication = await next();
  const { time } = publication.pub;
  assert.ok(Number.isSafeInteger(time));
  assert.deepEqual(publication, { channel: "push", pub: { data: [1], info, offset: 1, time } });
  await bob.ask(4, "unsubscribe", { channel: "push" });
  assert.deepEqual(await next(), { channel: "push", leave: { info } });
});

test("join, leave, recovery and positions that no room forces are given to those who ask", async (t) => {
  const plain = await Raw.connect(t, server, "plain");
  assert.deepEqual((await plain.ask(2, "subscribe", { channel: "quiet:1" })).subscribe, {});
  const asks = { channel: "quiet:1", recoverable: true, positioned: true, join_leave: true };
  const eager = await Raw.connect(t, server, "eager");
  const { subscribe } = await eager.ask(2, "subscribe", asks);
  assert.deepEqual(subscribe, { recoverable: true, positioned: true, epoch: subscribe.epoch });
  const third = await Raw.connect(t, server, "third");
  await third.ask(2, "subscribe", { channel: "quiet:1" });
  let { join } = await eager.push("join");
  while (join.info.client !== third.id) ({ join } = await eager.push("join"));
  await plain.ask(3, "ping", {});
  assert.deepEqual(plain.objects.filter((object) => object.push), []);
});

test("payloads keep every digit and every letter, and lose their line breaks", async (t) => {
  const raw = await Raw.connect(t, server);
  await raw.ask(2, "subscribe", { channel: "bytes" });
  raw.text('{"id":3,"publish":{"channel":"bytes","data":{\n "big" : 12345678901234567890.10,\r\n\t"e":1E+2, "s":"a b\\n\\u00e9" }}}');
  await raw.reply(3);
  await until(() => raw.frames.some((frame) => frame.includes('"pub"')), "the push");
  const frame = raw.frames.find((frame) => frame.includes('"pub"'));
  assert.ok(frame.includes('"data":{"big":12345678901234567890.10,"e":1E+2,"s":"a b\\n\\u00e9"}'), frame);
});

test("errors carry code, message, and whether to try again", async (t) => {
  const raw = await Raw.connect(t, server);
  const errorOf = async (id, method, parameters) => {
    const { error, ...rest } = await raw.ask(id, method, parameters);
    assert.deepEqual(rest, { id });
    return error;
  };
  await raw.ask(2, "subscribe", { channel: "twice" });
  assert.deepEqual(await errorOf(3, "subscribe", { channel: "twice" }), { code: 105, message: "already subscribed" });
  assert.deepEqual(await errorOf(4, "subscribe", { channel: "nowhere:1" }), { code: 102, message: "unknown channel" });
  assert.deepEqual(await errorOf(5, "subscribe", { channel: "" }), { code: 107, message: "bad request" });
  assert.deepEqual(await errorOf(6, "subscribe", {}), { code: 107, message: "bad request" });
  assert.deepEqual(await errorOf(7, "publish", { channel: "twice" }), { code: 107, message: "bad request" });
  assert.deepEqual(await errorOf(8, "nothing", {}), { code: 104, message: "method not found" });
  assert.deepEqual(await errorOf(9, "rpc", { method: "m" }), { code: 108, message: "not available" });
  assert.deepEqual(await errorOf(10, "sub_refresh", { channel: "never entered", token: "x" }), {
    code: 103,
    message: "permission denied",
  });
  assert.deepEqual(await errorOf(12, "subscribe", { channel: "map", type: 1 }), { code: 108, message: "not available" });
  for (const map of [{ type: 1 }, { key: "k" }, { removed: true }]) {
    const publish = { channel: "twice", data: 1, ...map };
    assert.deepEqual(await errorOf(12, "publish", publish), { code: 108, message: "not available" });
  }
  const filtered = { channel: "filtered", tf: { key: "a", cmp: "eq", val: "b" } };
  assert.deepEqual(await errorOf(12, "subscribe", filtered), { code: 107, message: "bad request" });
  const lost = { channel: "flag", recover: true, offset: 5, epoch: "x", flag: 2 };
  assert.deepEqual(await errorOf(13, "subscribe", lost), { code: 112, message: "unrecoverable position" });
  // The refused subscription left nothing behind.
  assert.deepEqual((await raw.ask(14, "presence_stats", { channel: "flag" })).presence_stats, {
    num_clients: 0,
    num_users: 0,
  });
  assert.deepEqual(await raw.ask(15, "unsubscribe", { channel: "never entered" }), { id: 15, unsubscribe: {} });
  assert.equal(raw.closed, undefined);
});

test("half an emoji spoils its command alone, and passes through in payloads", async (t) => {
  const raw = await Raw.connect(t, server);
  const half = "\ud83d";
  await raw.ask(2, "subscribe", { channel: "emoji" });
  for (const [id, method, parameters] of [
    [3, "subscribe", { channel: half }],
    [4, "publish", { channel: `${half}x`, data: 1 }],
    [5, "history", { channel: "emoji", since: { offset: 1, epoch: half } }],
    [6, "rpc", { method: half }],
  ]) {
    assert.deepEqual((await raw.ask(id, method, parameters)).error, { code: 107, message: "bad request" }, method);
  }
  await raw.ask(7, "publish", { channel: "emoji", data: { half, whole: "😀" } });
  assert.deepEqual((await raw.push("pub")).pub.data, { half, whole: "😀" });
  assert.ok(raw.frames.some((frame) => frame.includes('"half":"\\ud83d"')), "as it was written");
  const stranger = await Raw.open(t, server);
  assert.equal((await stranger.ask(1, "connect", { name: half })).error.code, 107);
  assert.ok((await stranger.ask(2, "connect", {})).connect, "it may try again");
});

test("a client is put into the rooms it names, with what it missed", async (t) => {
  const ann = await Raw.connect(t, server, "Ann");
  const { subscribe } = await ann.ask(2, "subscribe", { channel: "named" });
  for (const id of range(3, 6)) await ann.ask(id, "publish", { channel: "named", data: id });
  const bob = await Raw.open(t, server);
  const position = { recover: true, offset: 1, epoch: subscribe.epoch };
  const subs = { named: position, "named too": {}, "nowhere:1": position, "": {} };
  const { connect } = await bob.ask(1, "connect", { subs });
  assert.deepEqual(Object.keys(connect.subs).sort(), ["named", "named too"]);
  assert.equal(connect.subs.named.offset, 1, "the position that was asked for");
  assert.equal(connect.subs.named.recovered, true);
  assert.deepEqual(connect.subs.named.publications.map(({ data, offset }) => [data, offset]), [[4, 2], [5, 3]]);
  await ann.ask(7, "publish", { channel: "named too", data: "live" });
  assert.equal((await bob.push("pub")).pub.data, "live");
});

test("development mode looks at no token", async (t) => {
  const raw = await Raw.open(t, server);
  await raw.ask(1, "connect", { token: "x" });
  await raw.ask(2, "subscribe", { channel: "token", token: "x" });
  assert.deepEqual(await raw.ask(3, "refresh", { token: "y" }), { id: 3, refresh: {} });
  assert.deepEqual(await raw.ask(4, "sub_refresh", { channel: "token", token: "y" }), { id: 4, sub_refresh: {} });
});

test("commands of one frame are answered in order, connect before all", async (t) => {
  const raw = await Raw.open(t, server);
  const commands = [{ id: 1, connect: {} }];
  for (const id of range(2, 62)) {
    const kinds = [
      { subscribe: { channel: `frame ${id}` } },
      { publish: { channel: `frame ${id - 1}`, data: id } },
      { history: { channel: `frame ${id - 2}`, limit: -1 } },
      { presence: { channel: "frame 2" } },
      { rpc: { method: "none" } },
      { unsubscribe: { channel: `frame ${id - 5}` } },
    ];
    commands.push({ id, ...kinds[(id - 2) % kinds.length] });
  }
  raw.send(...commands);
  for (const command of commands) {
    const reply = await raw.reply(command.id);
    const [method] = Object.keys(command).filter((key) => key !== "id");
    assert.ok(reply[method] || (method === "rpc" && reply.error.code === 108), JSON.stringify(reply));
  }
});

test("unknown fields and flags are passed over, and what has no id and is no pong does no harm", async (t) => {
  const raw = await Raw.connect(t, server);
  const odd = { channel: "odd", later: { than: ["us"] }, flag: 0xff00, limit: 3, asc: true };
  assert.ok((await raw.ask(2, "subscribe", odd)).subscribe);
  raw.send({ send: { data: { any: 1 } } });
  assert.deepEqual(await raw.ask(3, "ping", {}), { id: 3, ping: {} });
});

test("a pong that no ping asked for ends the connection", async (t) => {
  for (const pong of ["{}", '{"publish":{"channel":"hall","data":1}}', '{"id":0,"ping":{}}']) {
    const raw = await Raw.connect(t, server);
    raw.text(pong);
    assert.equal(await raw.closeCode(), 3501, pong);
    assert.equal(raw.closed.reason, "bad request");
  }
});

test("a ping is answered once: silence ends with 3012, a second pong with 3501", async (t) => {
  const quick = await Server.start({ config: '[client]\nping_interval = "3s"\npong_timeout = "2900ms"\n' });
  t.after(() => quick.stop());
  const silent = await Raw.connect(t, quick);
  assert.equal(await silent.closeCode(), 3012);
  assert.equal(silent.closed.reason, "no pong");
  const eager = await Raw.connect(t, quick);
  await until(() => eager.objects.some(isPing), "a ping");
  eager.text("{}");
  eager.text("{}");
  assert.equal(await eager.closeCode(), 3501);
});

test("whoever does not begin with connect is sent away", async (t) => {
  const first = [
    { id: 1, subscribe: { channel: "hall" } },
    { id: 1, publish: { channel: "hall", data: 1 } },
    { id: 1, ping: {} },
    { id: 1, nothing: {} },
    { send: { data: 1 } },
    {},
  ];
  for (const command of first) {
    const raw = await Raw.open(t, server);
    raw.send(command, { id: 2, connect: {} });
    assert.equal(await raw.closeCode(), 3501, JSON.stringify(command));
    assert.deepEqual(raw.objects, []);
  }
});

test("a second connect ends the connection", async (t) => {
  const raw = await Raw.connect(t, server);
  raw.send({ id: 2, connect: {} });
  assert.equal(await raw.closeCode(), 3501);
});

test("silence, and half a frame before silence, end as stale", async (t) => {
  const quick = await Server.start({ config: '[client]\nstale_close_delay = "1s"\n' });
  t.after(() => quick.stop());
  const half = textFrame('{"id":1,"connect":{}}').subarray(0, 15);
  const raw = await Raw.open(t, quick);
  const bare = [sendBytes(t, quick, Buffer.alloc(0)), sendBytes(t, quick, half)];
  assert.deepEqual(await Promise.all([...bare, raw.closeCode()]), [3502, 3502, 3502]);
  assert.equal(raw.closed.reason, "stale");
});

test("what is not the protocol ends the connection, and nobody else notices", async (t) => {
  const ann = await Raw.connect(t, server, "Ann");
  await ann.ask(2, "subscribe", { channel: "calm" });
  const bad = ["", "\n", "hello", '{"id":', "[]", "1", "null", '{"id":-1}', '{"id":"1","ping":{}}', '{"id":4294967296}',
    '{"id":2,"publish":[]}', '{"id":2,"subscribe":"hall"}', "{}".repeat(2_000), "[".repeat(10_000)];
  for (const text of bad) {
    const raw = await Raw.connect(t, server, "Eve");
    await raw.ask(2, "subscribe", { channel: "calm" });
    raw.text(text);
    assert.equal(await raw.closeCode(), 3501, text.slice(0, 40));
  }
  const binary = await Raw.connect(t, server);
  binary.text(Buffer.from('{"id":2,"ping":{}}'));
  assert.equal(await binary.closeCode(), 3501);
  assert.equal((await ann.ask(3, "presence_stats", { channel: "calm" })).presence_stats.num_clients, 1);
});

test("no push of a room follows its unsubscribe reply, however the room is flooded", async (t) => {
  const flooder = await Person.connect(t, { way: WAYS[0], port: server.port }, "flood");
  let isFlooding = true;
  let published = 0;
  const flood = (async () => {
    while (isFlooding) {
      await flooder.publishNumbers("spring", 100, published);
      published += 100;
    }
  })();
  const raw = await Raw.connect(t, server);
  const between = [];
  for (const round of range(0, 40)) {
    const id = 2 + 2 * round;
    await raw.ask(id, "subscribe", { channel: "spring" });
    await raw.push("pub");
    raw.send({ id: id + 1, unsubscribe: { channel: "spring" } });
    await raw.reply(id + 1);
    const from = raw.objects.findIndex((object) => object.id === id + 1) + 1;
    const goal = published + 200;
    await until(() => published >= goal, "the flood to go on");
    between.push(...raw.objects.slice(from).filter((object) => object.push?.channel === "spring"));
  }
  isFlooding = false;
  await flood;
  assert.deepEqual(between, []);
});
