// What pages of other sites can do to a server on this machine, in a real browser: its rules about who sends what along are
// those that the server relies on.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually } from "./eventually.mjs";
import { Server } from "./server.mjs";
import { openBrowser } from "./visitor.mjs";

const LIMIT = { timeout: 60_000 };
/** A name that somebody else has pointed at this machine. */
const REBOUND = "rebound.example";

let server;
let browser;
before(async () => {
  server = await Server.start();
  browser = await openBrowser([`--host-resolver-rules=MAP ${REBOUND} 127.0.0.1`]);
});
after(async () => {
  await browser?.close();
  assert.equal(await server?.stop(), 0, "the server drains and ends well");
});

/** A page of `host`, which is of another site than 127.0.0.1. */
async function pageOf(host) {
  const context = await browser.newContext({ bypassCSP: true });
  const page = await context.newPage();
  await page.goto(`http://${host}:${server.port}/health`);
  return page;
}

function commands(...all) {
  return encodeURIComponent(all.map((command) => JSON.stringify(command)).join("\n"));
}

test("a picture on a page of another site connects to nothing", LIMIT, async () => {
  const page = await pageOf("localhost");
  const connected = await server.metric("roomcast_connected_total");
  const cf = commands({ id: 1, connect: {} }, { id: 2, publish: { channel: "lobby", data: "from a picture" } });
  const address = `http://127.0.0.1:${server.port}/connection/sse?cf_connect=${cf}`;
  const wasShown = await page.evaluate((src) => {
    const picture = document.createElement("img");
    return new Promise((done) => {
      picture.onload = () => done(true);
      picture.onerror = () => done(false);
      picture.src = src;
    });
  }, address);
  assert.equal(wasShown, false);
  await eventually(() => server.log.includes("not let in"), { what: "the server to say that it refused" });
  assert.equal(await server.metric("roomcast_connected_total"), connected);
  assert.equal(await server.metric("roomcast_messages_in_total"), 0);
});

test("a name that somebody has pointed here reaches nothing", LIMIT, async () => {
  const page = await pageOf(REBOUND);
  const statuses = await page.evaluate(async () => {
    const ask = async (path, how) => (await fetch(path, how)).status;
    const body = JSON.stringify({ id: 1, connect: {} });
    const socket = new WebSocket(`ws://${location.host}/connection/websocket`);
    const opened = await new Promise((done) => {
      socket.onopen = () => done(true);
      socket.onerror = () => done(false);
    });
    return [await ask("/"), await ask("/metrics"), await ask("/connection/http_stream", { method: "POST", body }), opened];
  });
  assert.deepEqual(statuses, [421, 421, 421, false]);
  assert.equal(await server.metric("roomcast_connected_total"), 0);
});
