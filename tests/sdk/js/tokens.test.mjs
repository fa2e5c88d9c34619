// Tokens by the JavaScript SDK: made here as a backend makes them, brought, fetched, refreshed, and wrong.

import assert from "node:assert/strict";
import { createHmac, createSign, generateKeyPairSync } from "node:crypto";
import { UNAUTHORIZED } from "./packages.mjs";
import { Person } from "./people.mjs";
import { onEveryWay } from "./suites.mjs";
import { until } from "./until.mjs";

const SECRET = "a secret that backend and server know";
const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "secp521r1" });

const CONFIG = `
[client.token]
hmac_secret_key = "${SECRET}"
ecdsa_public_key = """${publicKey.export({ type: "spki", format: "pem" })}"""

[[channel.namespaces]]
name = "open"
history_size = 100
history_ttl = "1h"
presence = true
allow_subscribe_for_client = true
allow_publish_for_subscriber = true
allow_presence_for_subscriber = true

[[channel.namespaces]]
name = "shut"
history_size = 100
history_ttl = "1h"
force_recovery = true
presence = true
allow_publish_for_subscriber = true
allow_presence_for_subscriber = true
`;

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

function token(claims, secret = SECRET) {
  const message = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${message}.${createHmac("sha256", secret).update(message).digest("base64url")}`;
}

function tokenOfKey(claims) {
  const message = `${encode({ alg: "ES512", typ: "JWT" })}.${encode(claims)}`;
  const signer = createSign("sha512").update(message);
  return `${message}.${signer.sign({ key: privateKey, dsaEncoding: "ieee-p1363" }, "base64url")}`;
}

const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;
const LATE = inSeconds(-60);

onEveryWay(
  (place, test) => {
    /** Somebody who has not connected yet. */
    function person(t, name, options) {
      const person = new Person(place, name, options);
      t.after(() => person.client.disconnect());
      return person;
    }

    test("a good token lets somebody in, as whom it says", async (t) => {
      for (const made of [token, tokenOfKey]) {
        const info = { name: "Ann" };
        const ann = await Person.connect(t, place, "Ann", { token: made({ sub: "ann", info, exp: inSeconds(600) }) });
        const member = await ann.enter("open:1");
        assert.deepEqual((await member.presence()).clients[ann.id], { client: ann.id, user: "ann", connInfo: info });
        await member.publish("hello");
        await member.heard(1);
        assert.deepEqual(member.publications[0].info, { client: ann.id, user: "ann", connInfo: info });
        ann.client.disconnect();
      }
    });

    test("no token, and a wrong one, let nobody in", async (t) => {
      const nobody = person(t, "nobody");
      nobody.client.connect();
      await until(() => nobody.disconnected.length === 1, "the refusal");
      assert.equal(nobody.disconnected[0].code, 101);
      for (const wrong of [token({ sub: "ann" }, "another secret"), "x.y.z", token({ sub: 7 })]) {
        const ann = person(t, "Ann", { token: wrong });
        ann.client.connect();
        await until(() => ann.disconnected.length === 1, "the close");
        assert.equal(ann.disconnected[0].code, 3500);
        assert.equal(ann.connected.length, 0);
      }
    });

    test("a token past its time is replaced by one that is fetched", async (t) => {
      let fetched = 0;
      const getToken = async () => {
        fetched += 1;
        return token({ sub: "ann", exp: inSeconds(600) });
      };
      const ann = await Person.connect(t, place, "Ann", { token: token({ sub: "ann", exp: LATE }), getToken });
      assert.equal(fetched, 1);
      assert.ok(ann.errors.some(({ error }) => error.code === 109));
      assert.deepEqual(ann.disconnected, []);
    });

    test("a connection is refreshed before its time is over, again and again", async (t) => {
      let fetched = 0;
      const getToken = async () => {
        fetched += 1;
        return token({ sub: "ann", exp: inSeconds(fetched < 3 ? 2 : 600) });
      };
      const ann = await Person.connect(t, place, "Ann", { getToken });
      const member = await ann.enter("open:2");
      await until(() => fetched === 3, "two refreshes");
      await member.publish("still here");
      await member.heard(1);
      assert.equal(ann.connecting.length, 1, "it stayed connected");
      assert.deepEqual(ann.disconnected, []);
    });

    test("a backend that fails for a while keeps nobody out", async (t) => {
      let asked = 0;
      const getToken = async () => {
        asked += 1;
        if (asked < 4) throw new Error("the backend is down");
        return token({ sub: "ann" });
      };
      const ann = await Person.connect(t, place, "Ann", { getToken });
      assert.equal(asked, 4);
      assert.equal(ann.errors.length, 3);
      assert.deepEqual(ann.disconnected, []);
    });

    test("a backend that says no is obeyed", async (t) => {
      const getToken = async () => {
        throw new UNAUTHORIZED[place.way.encoding]("no");
      };
      const ann = person(t, "Ann", { getToken });
      ann.client.connect();
      await until(() => ann.disconnected.length === 1, "the end");
      assert.equal(ann.connected.length, 0);
    });

    test("a room opens by a token that is fetched for it", async (t) => {
      const ann = await Person.connect(t, place, "Ann", { token: token({ sub: "ann" }) });
      const asked = [];
      const getToken = async ({ channel }) => {
        asked.push(channel);
        return token({ sub: "ann", channel, info: { role: "host" } });
      };
      const member = await ann.enter("$shut:1", { getToken });
      assert.deepEqual(asked, ["$shut:1"]);
      await member.publish("private");
      await member.heard(1);
      assert.deepEqual(member.publications[0].info, { client: ann.id, user: "ann", chanInfo: { role: "host" } });
      const shut = ann.member("shut:2");
      shut.subscription.subscribe();
      await until(() => shut.left.length === 1, "the refusal");
      assert.equal(shut.left[0].code, 103);
    });

    test("a token of a room past its time is replaced by one that is fetched", async (t) => {
      const ann = await Person.connect(t, place, "Ann", { token: token({ sub: "ann" }) });
      let fetched = 0;
      const channel = "shut:3";
      const getToken = async () => {
        fetched += 1;
        return token({ sub: "ann", channel });
      };
      const member = await ann.enter(channel, { token: token({ sub: "ann", channel, exp: LATE }), getToken });
      assert.equal(fetched, 1);
      assert.equal(member.errors[0].error.code, 109);
      assert.deepEqual(member.left, []);
    });

    test("a wrong token of a room is refused, and another's ends the connection", async (t) => {
      const ann = await Person.connect(t, place, "Ann", { token: token({ sub: "ann" }) });
      const wrong = ann.member("shut:4", { token: token({ sub: "ann", channel: "shut:4" }, "another secret") });
      wrong.subscription.subscribe();
      await until(() => wrong.left.length === 1, "the refusal");
      assert.equal(wrong.left[0].code, 103);
      const foreign = ann.member("shut:5", { token: token({ sub: "bob", channel: "shut:5" }) });
      foreign.subscription.subscribe();
      await until(() => ann.disconnected.length === 1, "the close");
      assert.equal(ann.disconnected[0].code, 3500);
    });

    test("a connection token puts somebody into rooms, and says who they are there", async (t) => {
      const subs = { "$shut:8": { info: { role: "host" }, data: { topic: 7 } }, "open:8": {} };
      const ann = await Person.connect(t, place, "Ann", { token: token({ sub: "ann", subs }) });
      const entered = ann.served.subscribed;
      assert.deepEqual(entered.map(({ channel }) => channel).sort(), ["$shut:8", "open:8"]);
      assert.deepEqual(entered.find(({ channel }) => channel === "$shut:8").data, { topic: 7 });
      const bob = await Person.connect(t, place, "Bob", { token: token({ sub: "bob" }) });
      const channel = "$shut:8";
      const member = await bob.enter(channel, { token: token({ sub: "bob", channel }) });
      const { clients } = await member.presence();
      assert.deepEqual(clients[ann.id], { client: ann.id, user: "ann", chanInfo: { role: "host" } });
      await member.publish("for her, too");
      await until(() => ann.served.publication.length === 1, "the publication");
      assert.equal(ann.served.publication[0].data, "for her, too");
    });

    test("a room is refreshed, and one expired token on the way does not cost it", async (t) => {
      const ann = await Person.connect(t, place, "Ann", { token: token({ sub: "ann" }) });
      const channel = "shut:6";
      let fetched = 0;
      const getToken = async () => {
        fetched += 1;
        const exp = [inSeconds(2), LATE, inSeconds(600)][Math.min(fetched, 3) - 1];
        return token({ sub: "ann", channel, exp });
      };
      const member = await ann.enter(channel, { getToken });
      await member.publish(1);
      await until(() => fetched >= 3, "another token after the expired one");
      await member.publish(2);
      await member.heard(2);
      assert.deepEqual(member.data, [1, 2]);
      assert.equal(member.entered.length, 1, "it was never left");
      assert.deepEqual(member.left, []);
    });
  },
  { config: CONFIG, dev: false, isWaiting: true },
);

onEveryWay(
  (place, test) => {
    test("a room that is not refreshed in time is entered again by a new token, and nothing is missed", async (t) => {
      const ann = await Person.connect(t, place, "Ann", { token: token({ sub: "ann" }) });
      const bob = await Person.connect(t, place, "Bob", { token: token({ sub: "bob" }) });
      const channel = "shut:7";
      const publisher = await bob.enter(channel, { token: token({ sub: "bob", channel }) });
      let fetched = 0;
      let isDown = false;
      const getToken = async () => {
        if (isDown) throw new Error("the backend is down");
        fetched += 1;
        return token({ sub: "ann", channel, exp: inSeconds(fetched === 1 ? 2 : 600) });
      };
      const member = await ann.enter(channel, { getToken });
      isDown = true;
      await until(async () => (await publisher.presenceStats()).numClients === 1, "the end of her time");
      await publisher.publish("while she was away");
      isDown = false;
      await member.heard(1);
      assert.deepEqual(member.data, ["while she was away"]);
      assert.equal(member.entered.length, 2);
      assert.deepEqual(member.left, []);
      assert.deepEqual(ann.disconnected, []);
    });
  },
  { config: `[client]\nexpired_sub_close_delay = "0s"\n${CONFIG}`, dev: false, isWaiting: true },
);
