// The SDK over TLS, as an application has it whose certificate is of an authority of its own: Node is told of that by
// NODE_EXTRA_CA_CERTS, which it reads at its start, so the client is a process of its own.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { EventSource, SDK, WebSocket } from "./packages.mjs";
import { Server } from "./server.mjs";
import { WAYS } from "./ways.mjs";

const PROGRAM = fileURLToPath(import.meta.url);
const CLIENT = "client";

/** Enters a room, publishes into it, and says what it has heard; or why it was not let in. */
function client(wayName, port) {
  const way = WAYS.find(({ name }) => name === wayName);
  const scheme = way.isEmulated ? "https" : "wss";
  const endpoint = `${scheme}://localhost:${port}/connection/${way.transport}`;
  const emulationEndpoint = `https://localhost:${port}/emulation`;
  const options = { websocket: WebSocket, eventsource: EventSource, fetch, emulationEndpoint };
  const client = new SDK[way.encoding]([{ transport: way.transport, endpoint }], options);
  const say = (said) => {
    process.stdout.write(JSON.stringify(said), () => process.exit(0));
  };
  // The SDK would try for ever.
  client.on("connecting", ({ code }) => code !== 0 && say({ lost: code }));
  client.on("error", ({ error }) => say({ refused: error.message }));
  const bytes = (data) => (way.encoding === "protobuf" ? new TextEncoder().encode(JSON.stringify(data)) : data);
  const room = client.newSubscription("hall");
  room.on("publication", ({ data }) => say({ heard: way.encoding === "protobuf" ? JSON.parse(new TextDecoder().decode(data)) : data }));
  room.on("subscribed", () => room.publish(bytes({ over: wayName })));
  room.subscribe();
  client.connect();
}

async function runs(wayName, port, environment) {
  const env = { ...process.env, ...environment };
  // As a runner of tests it would tell that it has run none.
  delete env.NODE_TEST_CONTEXT;
  const child = spawn(process.execPath, [PROGRAM, CLIENT, wayName, port], { env, stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  child.stdout.on("data", (data) => (said += data));
  await once(child, "close");
  return JSON.parse(said);
}

if (process.argv[2] === CLIENT) {
  client(process.argv[3], process.argv[4]);
} else {
  let server;
  let folder;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "roomcast-sdk-tls-"));
    const openssl = (...args) => execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    openssl("req", "-x509", ...key, "-days", "2", "-subj", "/CN=an authority", "-keyout", "ca.key", "-out", "ca.pem");
    openssl("req", ...key, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "asked.pem");
    openssl("x509", "-req", "-in", "asked.pem", "-copy_extensions", "copy", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-out", "cert.pem");
    const file = (name) => JSON.stringify(join(folder, name));
    const config = `[http_server.tls]\nenabled = true\ncert_pem = ${file("cert.pem")}\nkey_pem = ${file("key.pem")}\n`;
    server = await Server.start({ config });
  });

  after(async () => {
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  for (const { name } of WAYS) {
    test(`${name}: over TLS, with an authority that it was told of`, async () => {
      const heard = await runs(name, server.port, { NODE_EXTRA_CA_CERTS: join(folder, "ca.pem") });
      assert.deepEqual(heard, { heard: { over: name } });
    });

    test(`${name}: a server of an authority that it knows nothing of is not spoken to`, async () => {
      const said = await runs(name, server.port, { NODE_EXTRA_CA_CERTS: "" });
      assert.ok(said.refused || said.lost, JSON.stringify(said));
    });
  }
}
