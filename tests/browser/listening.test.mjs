// A page without an SDK, as docs/server.md has it: the browser's own EventSource, its coming back and its giving up are those that
// such pages rely on; and what curl hears.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { eventually } from "./eventually.mjs";
import { Server } from "./server.mjs";
import { openBrowser } from "./visitor.mjs";

const LIMIT = { timeout: 60_000 };
const DOCUMENTED = "http://127.0.0.1:8000";
const CONFIG = `
[http_api]
key = "secret"

[client.token]
hmac_secret_key = "hush"

[uni_http_stream.connect_code_to_http_response]
enabled = true

[uni_sse.connect_code_to_http_response]
enabled = true
transforms = [{ code = 3500, to = { status_code = 403 } }]
`;

let server;
let browser;
let page;
before(async () => {
  [server, browser] = await Promise.all([Server.start({ config: CONFIG }), openBrowser()]);
  page = (await readFile(new URL("../../docs/server.md", import.meta.url), "utf8")).split("## Clients without an SDK")[1];
});
after(async () => {
  await browser?.close();
  assert.equal(await server?.stop(), 0, "the server drains and ends well");
});

/** The first block of the documentation in that language, for this server. */
function documented(language) {
  const block = page.split(`\`\`\`${language}\n`)[1].split("```")[0];
  assert.ok(block.includes(DOCUMENTED), "the example names its server");
  return block.replaceAll(`${DOCUMENTED}/`, server.url);
}

async function api(method, params) {
  const headers = { "X-API-Key": "secret" };
  const response = await fetch(`${server.url}api/${method}`, { method: "POST", headers, body: JSON.stringify(params) });
  const answer = await response.json();
  assert.ok(answer.result, JSON.stringify(answer));
  return answer.result;
}

const publish = (data) => api("publish", { channel: "news", data });

/** A browser in front of that page, which this server seems to have. */
async function open(html) {
  const context = await browser.newContext();
  const visited = await context.newPage();
  const faults = [];
  visited.on("pageerror", (error) => faults.push(String(error)));
  const url = `${server.url}listening.html`;
  await visited.route(url, (route) => route.fulfill({ contentType: "text/html", body: html }));
  await visited.goto(url);
  return { context, visited, url, faults };
}

async function present() {
  return (await api("presence_stats", { channel: "news" })).num_clients;
}

test("the page of the documentation shows what comes, and what it has missed", LIMIT, async () => {
  const { context, visited, url, faults } = await open(documented("html"));
  const shown = () => visited.locator("#news li").allTextContents();
  const shows = (expected) =>
    eventually(async () => JSON.stringify(await shown()) === JSON.stringify(expected), {
      what: async () => `${JSON.stringify(expected)} on the page, not ${JSON.stringify(await shown())}`,
    });
  await eventually(async () => (await present()) === 1, { what: "the page to be there" });
  await publish("one");
  await publish("two");
  await shows(["one", "two"]);
  // Away, and back: what it missed is given to it, and nothing twice.
  await visited.goto("about:blank");
  await eventually(async () => (await present()) === 0, { what: "the page to be gone" });
  await publish("three");
  await visited.goto(url);
  await shows(["three"]);
  await publish("four");
  await shows(["three", "four"]);
  // Told to come again it does, by itself; what it has shown since it was opened is given to it once more, and not shown.
  const connected = await server.metric("roomcast_connected_total");
  await api("disconnect", { user: "", disconnect: { code: 4000, reason: "elsewhere" } });
  await eventually(async () => (await server.metric("roomcast_connected_total")) > connected, { what: "it to come again" });
  await eventually(async () => (await present()) === 1, { what: "it to be there again" });
  await publish("five");
  await shows(["three", "four", "five"]);
  // Told to stay away it does.
  await api("disconnect", { user: "", disconnect: { code: 4500, reason: "for good" } });
  await eventually(async () => (await visited.evaluate("events.readyState")) === 2, { what: "it to give up" });
  assert.deepEqual(faults, []);
  await context.close();
});

test("a status of HTTP ends an EventSource", LIMIT, async () => {
  const { context, visited } = await open("<!doctype html><title>refused</title>");
  const connected = () => server.metric("roomcast_connected_total");
  const before = await connected();
  const state = await visited.evaluate((address) => {
    const events = new EventSource(address);
    return new Promise((done) => {
      events.onerror = () => done(events.readyState);
    });
  }, `${server.url}connection/uni_sse?cf_connect=${encodeURIComponent('{"token":"x.y.z"}')}`);
  assert.equal(state, 2);
  assert.equal(await connected(), before + 1, "it did not come again");
  // A reader of streams is told why.
  const status = await visited.evaluate(async (address) => {
    const response = await fetch(address, { method: "POST", body: '{"token":"x.y.z"}' });
    return [response.status, await response.text()];
  }, `${server.url}connection/uni_http_stream`);
  assert.deepEqual(status, [500, "Internal Server Error"]);
  await context.close();
});

test("a page opens its connection before it needs it", LIMIT, async () => {
  const { context, visited } = await open("<!doctype html><title>init</title>");
  const answer = await visited.evaluate(async (address) => {
    const response = await fetch(address);
    return [response.status, await response.text()];
  }, `${server.url}connection/init`);
  assert.deepEqual(answer, [200, "{}"]);
  await context.close();
});

test("a WebSocket of the browser listens", LIMIT, async () => {
  // A page that came over the network: only such a one may open sockets of this machine.
  const context = await browser.newContext({ bypassCSP: true });
  const visited = await context.newPage();
  await visited.goto(`${server.url}health`);
  await visited.evaluate((address) => {
    window.heard = [];
    const socket = new WebSocket(address);
    socket.onopen = () => socket.send('{"subs":{"news":{}}}');
    socket.onmessage = ({ data }) => window.heard.push(JSON.parse(data));
    socket.onclose = ({ code, reason }) => window.heard.push({ code, reason });
  }, `${server.url.replace("http", "ws")}connection/uni_websocket`);
  const all = () => visited.evaluate("heard");
  const heard = (what, holds) => eventually(async () => holds(await all()), { what: async () => `${what} in ${JSON.stringify(await all())}` });
  await heard("connect", (all) => all[0]?.connect?.subs.news);
  await publish({ over: "a socket" });
  await heard("a publication", (all) => all.some((push) => push.pub?.data.over === "a socket"));
  // Pings of both kinds, which the browser answers by itself: it is there for longer than its silence would be borne.
  await heard("pings", (all) => all.filter((push) => Object.keys(push).length === 0).length >= 3);
  await api("disconnect", { user: "", disconnect: { code: 4500, reason: "for good" } });
  await heard("its end", (all) => all.at(-1)?.code === 4500 && all.at(-2)?.disconnect?.code === 4500);
  await context.close();
});

test("curl hears what the documentation says it does", LIMIT, async () => {
  const [command, first, second] = documented("sh").trim().split("\n");
  const curl = spawn("sh", ["-c", `exec ${command} --silent`], { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  curl.stdout.setEncoding("utf8").on("data", (text) => {
    said += text;
  });
  const line = (number) => eventually(() => said.split("\n").length > number + 1 && said.split("\n")[number], { what: () => `line ${number} of ${said}` });
  try {
    const keys = (object) => Object.keys(object).sort();
    const documentedKeys = (text) => keys(JSON.parse(text.slice(2).replaceAll("…}", '"":1}').replaceAll('"time":"":1', '"time":1')));
    const connect = JSON.parse(await line(0));
    assert.deepEqual(keys(connect), documentedKeys(first));
    assert.deepEqual(keys(connect.connect), keys(JSON.parse(first.slice(2).replaceAll("…}", '"":1}')).connect));
    await publish("hello");
    const pushes = () => said.split("\n").filter((text) => text.includes('"pub"'));
    await eventually(() => pushes().length === 1, { what: () => `a push in ${said}` });
    const push = JSON.parse(pushes()[0]);
    assert.deepEqual([keys(push), push.pub.data], [documentedKeys(second), "hello"]);
  } finally {
    curl.kill();
  }
});
