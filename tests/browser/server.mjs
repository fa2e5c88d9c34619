// The server under test: the real binary, in development mode, on a free loopback port.

import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "./eventually.mjs";

const START_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 15_000;

/** Shortened, so that the loss of a silent connection shows within seconds. */
const CONFIG = `
[client]
ping_interval = "2s"
pong_timeout = "1s"
`;

export class Server {
  #process;
  #folder;
  #log = "";
  url = "";

  /** Starts a server, of which `config` says more; where `before` is given, on the data that it has left. */
  static async start({ before, config: more = "" } = {}) {
    const server = new Server();
    server.#folder = before?.#folder ?? (await mkdtemp(join(tmpdir(), "roomcast-browser-")));
    const config = join(server.#folder, "roomcast.toml");
    await writeFile(config, CONFIG + more);
    const args = ["serve", "--dev", "--listen", "127.0.0.1:0", "--config", config, "--data-dir", server.#folder];
    server.#process = spawn(process.env.ROOMCAST_BIN, args, { stdio: ["ignore", "pipe", "pipe"] });
    const read = (chunk) => {
      server.#log += chunk;
    };
    server.#process.stdout.setEncoding("utf8").on("data", read);
    server.#process.stderr.setEncoding("utf8").on("data", read);
    const address = /listening on (http:\/\/127\.0\.0\.1:\d+)/;
    await eventually(() => address.test(server.#log) || server.#process.exitCode !== null, {
      what: () => `the server to say where it listens; it said:\n${server.#log}`,
      timeoutMs: START_TIMEOUT_MS,
    });
    const found = address.exec(server.#log);
    if (!found) throw new Error(`the server ended at once:\n${server.#log}`);
    server.url = `${found[1]}/`;
    return server;
  }

  get port() {
    return Number(new URL(this.url).port);
  }

  get log() {
    return this.#log;
  }

  /** The sum of a metric over its labels, those that contain `labels`. */
  async metric(name, labels = "") {
    const response = await fetch(new URL("metrics", this.url));
    const lines = (await response.text()).split("\n");
    return lines
      .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
      .filter((line) => line.includes(labels))
      .reduce((sum, line) => sum + Number(line.split(" ")[1]), 0);
  }

  /** Ends the server in the middle of whatever it does; its data is left for another. */
  async kill() {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill("SIGKILL");
    await ended;
  }

  /** Asks the server to end and returns its exit code; its data is left for another with `keep`. */
  async stop({ keep = false } = {}) {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    if (this.#process.exitCode === null) {
      this.#process.kill("SIGTERM");
      const timer = setTimeout(() => this.#process.kill("SIGKILL"), STOP_TIMEOUT_MS);
      await ended;
      clearTimeout(timer);
    }
    if (!keep) await rm(this.#folder, { recursive: true, force: true });
    return this.#process.exitCode;
  }
}
