// Tokens of an issuer that publishes its keys, by the JavaScript SDK: good ones, an issuer that is away, and one that has new keys.

import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { after } from "node:test";
import { Person } from "./people.mjs";
import { onEveryWay } from "./suites.mjs";
import { until } from "./until.mjs";

/** An issuer of tokens, which answers with `status` and publishes `keys`. */
class Issuer {
  status = 200;
  keys = [];
  asked = 0;
  #server = createServer((_, response) => {
    this.asked += 1;
    response.writeHead(this.status, { "Content-Type": "application/json" });
    response.end(JSON.stringify({ keys: this.keys }));
  });

  async start() {
    await once(this.#server.listen(0, "127.0.0.1"), "listening");
    return this;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}/jwks.json`;
  }

  stop() {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

const KINDS = {
  EdDSA: { ...generateKeyPairSync("ed25519"), hash: null },
  ES256: { ...generateKeyPairSync("ec", { namedCurve: "P-256" }), hash: "sha256" },
  RS256: { ...generateKeyPairSync("rsa", { modulusLength: 2048 }), hash: "sha256" },
};
const published = (kind) => ({ ...KINDS[kind].publicKey.export({ format: "jwk" }), kid: kind, use: "sig" });

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

function token(kind, claims) {
  const { privateKey, hash } = KINDS[kind];
  const message = `${encode({ alg: kind, kid: kind })}.${encode(claims)}`;
  const signature = sign(hash, Buffer.from(message), { key: privateKey, dsaEncoding: "ieee-p1363" });
  return `${message}.${signature.toString("base64url")}`;
}

const issuer = await new Issuer().start();
after(() => issuer.stop());

onEveryWay(
  (place, test) => {
    // Each way has a server of its own, which knows no keys at first.
    test("who comes while the issuer is away tries again by itself, and is let in", async (t) => {
      issuer.status = 503;
      issuer.keys = Object.keys(KINDS).map(published);
      const asked = issuer.asked;
      const ann = new Person(place, "Ann", { token: token("EdDSA", { sub: "ann" }) });
      t.after(() => ann.client.disconnect());
      ann.client.connect();
      await until(() => issuer.asked > asked, "the issuer being asked");
      await until(() => ann.errors.length > 0, "an error");
      assert.equal(ann.connected.length, 0);
      issuer.status = 200;
      await ann.client.ready();
      assert.equal(ann.disconnected.length, 0);
      const member = await ann.enter("hall");
      assert.equal((await member.presence()).clients[ann.id].user, "ann");
    });

    test("a token of each kind of key lets somebody in, and opens rooms", async (t) => {
      for (const kind of Object.keys(KINDS)) {
        const ann = await Person.connect(t, place, "Ann", { token: token(kind, { sub: "ann" }) });
        const room = `$private:${kind}`;
        const member = await ann.enter(room, { token: token(kind, { sub: "ann", channel: room }) });
        await member.publish("hello");
        await member.heard(1);
      }
    });

    test("a forged token lets nobody in", async (t) => {
      const [header, claims, signature] = token("ES256", { sub: "ann" }).split(".");
      // One that was issued just now might be by a key that the issuer has put in the place of this one.
      const forged = [header, encode({ sub: "bob", iat: Math.floor(Date.now() / 1000) - 7200 }), signature].join(".");
      for (const wrong of [forged, [encode({ alg: "none", kid: "ES256" }), claims, ""].join(".")]) {
        const bob = new Person(place, "Bob", { token: wrong });
        t.after(() => bob.client.disconnect());
        bob.client.connect();
        await until(() => bob.disconnected.length === 1, "the refusal");
        assert.equal(bob.disconnected[0].code, 3500);
      }
    });
  },
  {
    dev: false,
    config: `
[client.token]
jwks_public_endpoint = "${issuer.url}"

[channel.without_namespace]
presence = true
allow_subscribe_for_client = true
allow_presence_for_subscriber = true

[[channel.namespaces]]
name = "private"
allow_publish_for_subscriber = true
`,
  },
);
