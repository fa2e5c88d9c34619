// Programs of the tests: the server as the page configures it, proxies, and a server of pages.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect, createServer as createSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../browser/eventually.mjs";

export const TOKEN_SECRET = "the secret of tokens";
export const API_KEY = "the key of the API";

export function folder() {
  return mkdtempSync(join(tmpdir(), "roomcast-website-"));
}

export async function freePort() {
  const listener = createSocket().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address();
  listener.close();
  return port;
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true) || socket.destroy());
    socket.once("error", () => resolve(false));
  });
}

/** Runs a program that listens on the port until the test is over; what it says is to be had by what is returned. */
export async function listening(t, port, command, args, options = {}) {
  const process = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  let said = "";
  for (const stream of [process.stdout, process.stderr]) stream.on("data", (data) => (said += data));
  const ended = once(process, "exit");
  t.after(async () => {
    process.kill("SIGTERM");
    await ended;
  });
  await eventually(async () => process.exitCode !== null || (await answers(port)), { what: () => `${command}: ${said}` });
  if (process.exitCode !== null) throw new Error(`${command} ended: ${said}`);
  return () => said;
}

/** Runs a program to its end, and returns what it says. */
export async function run(command, args, options = {}) {
  const process = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  let out = "";
  let said = "";
  process.stdout.on("data", (data) => (out += data));
  process.stderr.on("data", (data) => (said += data));
  const [code] = await once(process, "close");
  if (code !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${code}: ${said}${out}`);
  return out.trim();
}

export async function roomcast(t, args, config = "") {
  const port = await freePort();
  const data = folder();
  writeFileSync(join(data, "roomcast.toml"), config);
  const all = ["serve", ...args, "--config", join(data, "roomcast.toml"), "--data-dir", data, "--listen", `127.0.0.1:${port}`];
  const said = await listening(t, port, process.env.ROOMCAST_BIN, all);
  return { port, config: join(data, "roomcast.toml"), said };
}

const SDK = join(process.env.ROOMCAST_SDK_TOOLS, "node_modules/centrifuge/dist/centrifuge.js");

/** A site: its page at /, the SDK beside it, and tokens at /my/token. */
export async function site(t, page, token = () => "") {
  const server = createServer((request, response) => {
    const answer = {
      "/": ["text/html", page.html],
      "/centrifuge.js": ["text/javascript", readFileSync(SDK)],
      "/my/token": ["text/plain", token()],
    }[request.url];
    response.writeHead(answer ? 200 : 404, { "Content-Type": answer?.[0] ?? "text/plain" }).end(answer?.[1]);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.closeAllConnections() || server.close());
  return `http://127.0.0.1:${server.address().port}`;
}
