// A site's backend that the server asks, and the JavaScript SDK, which needs no token then.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { Person } from "./people.mjs";
import { onEveryWay } from "./suites.mjs";
import { until } from "./until.mjs";

const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;

/** What the backend was asked, by the name of the person whom it was asked about. */
const asked = new Map();
const of = (name) => asked.get(name) ?? [];
/** Whose a client is. */
const names = new Map();

const ANSWERS = {
  connect({ client, data }) {
    names.set(client, data.name);
    if (data.name === "nobody") return {};
    if (data.name === "banned") return { disconnect: { code: 4500, reason: "banned" } };
    if (data.name === "late" && of("late").length < 3) return { error: { code: 1000, message: "busy", temporary: true } };
    const result = { user: data.name, info: { name: data.name }, data: { welcome: data.name } };
    if (data.name === "guest") result.expire_at = inSeconds(2);
    if (data.name === "member") result.subs = { "ask:lounge": { data: { topic: "tea" } } };
    return { result };
  },
  refresh({ user }) {
    const times = of(user).filter((question) => question.event === "refresh").length;
    return { result: { expire_at: inSeconds(times < 3 ? 2 : 600) } };
  },
  subscribe({ channel }) {
    if (channel === "ask:closed") return { error: { code: 403, message: "members only" } };
    return { result: { data: { topic: channel } } };
  },
  publish({ data }) {
    if (data === "rude") return { error: { code: 1001, message: "watch your words" } };
    return { result: { data: { clean: data } } };
  },
  rpc({ method, data }) {
    if (method === "add") return { result: { data: data.reduce((sum, number) => sum + number, 0) } };
    return { error: { code: 1404, message: `no ${method}` } };
  },
};

const backend = createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  const event = request.url.slice(1);
  const question = { event, headers: request.headers, ...JSON.parse(body) };
  const name = event === "connect" ? question.data.name : names.get(question.client);
  asked.set(name, [...of(name), question]);
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(ANSWERS[event](question)));
});
await new Promise((resolve) => backend.listen(0, "127.0.0.1", resolve));
backend.unref();

const endpoint = (event) => `endpoint = "http://127.0.0.1:${backend.address().port}/${event}"\ntimeout = "30s"`;

const CONFIG = `
[client.proxy.connect]
enabled = true
emulated_headers = ["X-Page"]
http_headers = ["User-Agent"]
${endpoint("connect")}
[client.proxy.refresh]
enabled = true
${endpoint("refresh")}
[channel.proxy.subscribe]
${endpoint("subscribe")}
[channel.proxy.publish]
${endpoint("publish")}
[rpc.proxy]
${endpoint("rpc")}
[rpc.without_namespace]
proxy_enabled = true
[rpc.ping]
enabled = true

[[channel.namespaces]]
name = "ask"
history_size = 100
history_ttl = "1h"
presence = true
allow_presence_for_subscriber = true
subscribe_proxy_enabled = true
publish_proxy_enabled = true
`;

/** What the SDK gives, which is bytes where the connection speaks Protobuf. */
const read = ({ way }, data) => (way.encoding === "json" ? data : JSON.parse(new TextDecoder().decode(data)));

onEveryWay(
  (place, test) => {
    test("somebody without a token is whom the backend says, with what it says", async (t) => {
      const options = { name: "shop", version: "7", headers: { "X-Page": "cart", "X-Other": "no" } };
      const ann = await Person.connect(t, place, "ann", options);
      const question = of("ann").at(-1);
      assert.deepEqual([question.name, question.version, question.client], ["shop", "7", ann.id]);
      assert.deepEqual([question.headers["x-page"], question.headers["x-other"]], ["cart", undefined]);
      assert.equal(question.transport, place.way.transport);
      assert.equal(question.protocol, place.way.encoding);
      assert.deepEqual(read(place, ann.connected.at(-1).data), { welcome: "ann" });
      const member = await ann.enter("ask:1");
      assert.deepEqual((await member.presence()).clients[ann.id].connInfo, { name: "ann" });
    });

    test("who is put into rooms is told of them with their data", async (t) => {
      const member = await Person.connect(t, place, "member");
      await until(() => member.served.subscribed.length === 1, "the room");
      const [room] = member.served.subscribed;
      assert.deepEqual([room.channel, room.data], ["ask:lounge", { topic: "tea" }]);
    });

    test("whom the backend does not know, or bans, stays away", async (t) => {
      for (const [name, code] of [["nobody", 101], ["banned", 4500]]) {
        const person = new Person(place, name);
        t.after(() => person.client.disconnect());
        person.client.connect();
        await until(() => person.disconnected.length === 1, "the refusal");
        assert.equal(person.disconnected[0].code, code);
      }
    });

    test("an error that may pass is tried again", async (t) => {
      asked.delete("late");
      const late = await Person.connect(t, place, "late");
      assert.ok(late.errors.some(({ error }) => error.code === 1000));
    });

    test("a connection is kept by the backend, without a token to refresh", async (t) => {
      asked.delete("guest");
      const guest = await Person.connect(t, place, "guest");
      await until(() => of("guest").filter(({ event }) => event === "refresh").length === 3, "three refreshes");
      assert.equal(await guest.rpc("add", [1, 2]).then(() => guest.connecting.length), 1, "it stayed connected");
      assert.deepEqual(guest.errors, []);
    });

    test("the backend says who enters", async (t) => {
      const ann = await Person.connect(t, place, "ann");
      const closed = ann.member("ask:closed");
      closed.subscription.subscribe();
      await until(() => closed.left.length === 1, "the refusal");
      assert.deepEqual([closed.left[0].code, closed.left[0].reason], [403, "members only"]);
      const open = await ann.enter("ask:open");
      assert.equal(open.entered.length, 1);
    });

    test("the backend says what is published", async (t) => {
      const ann = await Person.connect(t, place, "ann");
      const member = await ann.enter(`ask:${place.way.name.replaceAll(/\W/g, "-")}`);
      await assert.rejects(member.publish("rude"), { code: 1001, message: "watch your words" });
      await member.publish("hello");
      await member.heard(1);
      assert.deepEqual(member.data, [{ clean: "hello" }]);
      assert.deepEqual(member.publications[0].info.user, "ann");
    });

    test("calls are answered by the backend", async (t) => {
      const ann = await Person.connect(t, place, "ann");
      const { data } = await ann.rpc("add", [1, 2, 3]);
      assert.equal(read(place, data), 6);
      await assert.rejects(ann.rpc("subtract", [1]), { code: 1404, message: "no subtract" });
      await ann.rpc("ping", 0);
    });
  },
  { config: CONFIG, dev: false },
);
