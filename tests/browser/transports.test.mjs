// The SDK in a real browser over every transport, from a page of the server and from a page of another origin: its
// EventSource, its streams and its rules about origins are not those of Node.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { join } from "node:path";
import { Server } from "./server.mjs";
import { openBrowser } from "./visitor.mjs";

const LIMIT = { timeout: 60_000 };
const BUNDLES = join(process.env.ROOMCAST_SDK_TOOLS, "node_modules/centrifuge/dist");
const SDK = { json: join(BUNDLES, "centrifuge.js"), protobuf: join(BUNDLES, "centrifuge.protobuf.js") };
const MESSAGES = 20;

let server;
let browser;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), openBrowser()]);
});
after(async () => {
  await browser?.close();
  assert.equal(await server?.stop(), 0, "the server drains and ends well");
});

/** Runs in the page: connects, enters, publishes, is cut off by itself and comes back; tells what it heard. */
async function converse({ transport, protocol, host, count }) {
  const endpoint = transport === "websocket" ? `ws://${host}/connection/websocket` : `http://${host}/connection/${transport}`;
  const client = new Centrifuge([{ transport, endpoint }], {
    emulationEndpoint: `http://${host}/emulation`,
    protocol,
    minReconnectDelay: 10,
    maxReconnectDelay: 100,
  });
  const encode = (value) => (protocol === "protobuf" ? new TextEncoder().encode(JSON.stringify(value)) : value);
  const decode = (data) => (protocol === "protobuf" ? JSON.parse(new TextDecoder().decode(data)) : data);
  const room = client.newSubscription(`transports-${transport}-${protocol}-${location.hostname}`, { recoverable: true });
  const heard = [];
  const entered = [];
  room.on("publication", ({ data, offset }) => heard.push([decode(data), offset]));
  room.on("subscribed", ({ wasRecovering, recovered }) => entered.push([wasRecovering, recovered]));
  room.subscribe();
  client.connect();
  await room.ready(10_000);
  for (let number = 0; number < count; number += 1) await room.publish(encode(number));
  const all = async (total) => {
    for (let turns = 0; heard.length < total && turns < 500; turns += 1) await new Promise((done) => setTimeout(done, 20));
  };
  await all(count);
  client.disconnect();
  client.connect();
  await room.ready(10_000);
  await room.publish(encode(count));
  await all(count + 1);
  client.disconnect();
  return { heard, entered };
}

for (const [transport, protocol] of [
  ["websocket", "json"],
  ["websocket", "protobuf"],
  ["http_stream", "json"],
  ["http_stream", "protobuf"],
  ["sse", "json"],
]) {
  for (const name of ["127.0.0.1", "localhost"]) {
    test(`${transport} in ${protocol} from a page of ${name}`, LIMIT, async () => {
      // The SDK is not part of the page, so the page's own policy must not judge it.
      const context = await browser.newContext({ bypassCSP: true });
      try {
        const page = await context.newPage();
        const faults = [];
        page.on("pageerror", (error) => faults.push(String(error)));
        await page.goto(`http://${name}:${server.port}/health`);
        await page.addScriptTag({ path: SDK[protocol] });
        const host = `127.0.0.1:${server.port}`;
        const { heard, entered } = await page.evaluate(converse, { transport, protocol, host, count: MESSAGES });
        const expected = Array.from({ length: MESSAGES + 1 }, (_, number) => [number, number + 1]);
        assert.deepEqual(heard, expected);
        assert.deepEqual(entered, [[false, false], [true, true]]);
        assert.deepEqual(faults, []);
      } finally {
        await context.close();
      }
    });
  }
}
