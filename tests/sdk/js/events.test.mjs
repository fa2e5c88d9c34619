// Room events, taken by a backend that checks signatures with the lines of docs/events.md.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { test } from "node:test";
import { Server } from "./server.mjs";

const PAGE = new URL("../../../docs/events.md", import.meta.url);

/** The function of the page. */
async function documented() {
  const [, lines] = /^```js\n(.*?)^```$/ms.exec(await readFile(PAGE, "utf8"));
  return (await import(`data:text/javascript,${encodeURIComponent(lines)}`)).isOurs;
}

/** The first thing that a server with this secret tells its backend. */
async function told(t, secret) {
  let tell;
  const first = new Promise((resolve) => (tell = resolve));
  const backend = createServer(async (request, response) => {
    const chunks = await request.toArray();
    response.writeHead(204).end();
    tell({ headers: request.headers, body: Buffer.concat(chunks) });
  });
  await new Promise((resolve) => backend.listen(0, "127.0.0.1", resolve));
  t.after(() => backend.close());
  const config = `
[client]
subscribe_on_connect = ["hall"]
[events]
endpoint = "http://127.0.0.1:${backend.address().port}/events"
secret = "${secret}"
[channel.without_namespace]
room_events = true
`;
  const server = await Server.start({ config });
  t.after(() => server.stop());
  const guest = new AbortController();
  await fetch(`http://127.0.0.1:${server.port}/connection/sse?cf_connect=%7B%22id%22:1,%22connect%22:%7B%7D%7D`, { signal: guest.signal });
  const request = await first;
  guest.abort();
  return request;
}

for (const secret of ["whsec_YSBzZWNyZXQgb2YgMjQgYnl0ZXMgLi4u", "a secret that is a text"]) {
  test(`the lines of the page tell the server from others: ${secret.slice(0, 6)}`, async (t) => {
    const isOurs = await documented();
    const { headers, body } = await told(t, secret);
    assert.equal(JSON.parse(body).events[0].type, "occupied");
    assert.equal(isOurs(secret, headers, body), true);
    assert.equal(isOurs(`${secret}aaaa`, headers, body), false, "another secret");
    assert.equal(isOurs(secret, headers, Buffer.concat([body, Buffer.from(" ")])), false, "another body");
    assert.equal(isOurs(secret, headers, body, -1), false, "long ago");
    assert.equal(isOurs(secret, { ...headers, "webhook-timestamp": "soon" }, body), false, "no time");
  });
}
