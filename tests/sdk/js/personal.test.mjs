// Rooms of a user by the JavaScript SDK: what a backend has for one user reaches all of its devices; and users who are here once.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { Person } from "./people.mjs";
import { onEveryWay } from "./suites.mjs";
import { until } from "./until.mjs";

const SECRET = "a secret that backend and server know";

const config = (isSingle) => `
[client]
subscribe_to_user_personal_channel = { enabled = true, personal_channel_namespace = "own", single_connection = ${isSingle} }

[client.token]
hmac_secret_key = "${SECRET}"

[http_api]
key = "secret"

[[channel.namespaces]]
name = "own"
history_size = 100
history_ttl = "1h"
force_recovery = true
`;

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

function token(user) {
  const message = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ sub: user })}`;
  return `${message}.${createHmac("sha256", SECRET).update(message).digest("base64url")}`;
}

const connect = (t, place, user) => Person.connect(t, place, user, { token: token(user) });

async function publish(place, user, data) {
  const response = await fetch(`http://127.0.0.1:${place.port}/api/publish`, {
    method: "POST",
    headers: { "X-API-Key": "secret" },
    body: JSON.stringify({ channel: `own:#${user}`, data }),
  });
  assert.ok((await response.json()).result);
}

const heard = (person) => person.served.publication.map(({ channel, data }) => [channel, data]);

onEveryWay(
  (place, test) => {
    test("all devices of a user hear what is for it, and recover it", async (t) => {
      const [phone, desk] = [await connect(t, place, "42"), await connect(t, place, "42")];
      const other = await connect(t, place, "7");
      assert.deepEqual(phone.served.subscribed.map(({ channel }) => channel), ["own:#42"]);
      await publish(place, "42", "first");
      for (const device of [phone, desk]) {
        await until(() => heard(device).length === 1, "the message");
        assert.deepEqual(heard(device), [["own:#42", "first"]]);
      }
      phone.client.disconnect();
      await publish(place, "42", "second");
      phone.client.connect();
      await until(() => heard(phone).length === 2, "what was missed");
      assert.deepEqual(heard(phone)[1], ["own:#42", "second"]);
      assert.equal(phone.served.subscribed.at(-1).recovered, true);
      assert.deepEqual(heard(other), []);
    });
  },
  { config: config(false), dev: false },
);

onEveryWay(
  (place, test) => {
    test("who is here once stays where it came last", async (t) => {
      const [phone, bystander] = [await connect(t, place, "42"), await connect(t, place, "7")];
      const desk = await connect(t, place, "42");
      await until(() => phone.disconnected.length === 1, "the older one to be closed");
      assert.deepEqual([phone.disconnected[0].code, phone.disconnected[0].reason], [3504, "connection limit"]);
      await publish(place, "42", "to the newer one");
      await until(() => heard(desk).length === 1, "the message");
      assert.deepEqual([desk.disconnected, bystander.disconnected, heard(phone)], [[], [], []]);
    });
  },
  { config: config(true), dev: false },
);
