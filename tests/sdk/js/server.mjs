// The server under test: the real binary, in development mode, on a loopback port, with a configuration of its own.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "./until.mjs";

const LISTENING = /listening on https?:\/\/127\.0\.0\.1:(\d+)/;
/** More than the server grants itself for draining. */
const STOP_TIMEOUT_MS = 60_000;
/**
 * How long the server waits for a client unless its configuration says otherwise: on a busy machine, one that is slow for
 * a moment must not be taken for gone. Pings do not come while a test lasts.
 */
const PATIENCE = { ping_interval: "1h", pong_timeout: "59m", stale_close_delay: "60s" };

export class Server {
  port = 0;
  log = "";
  #process;
  #ended;
  #folder;

  /**
   * Starts a server with a configuration file of this TOML, on the data of another one that is gone. `port` 0 takes a free one;
   * without `dev` clients need what the configuration asks of them.
   */
  static async start({ config = "", port = 0, before, dev = true } = {}) {
    const server = new Server();
    server.#folder = before?.#folder ?? (await mkdtemp(join(tmpdir(), "roomcast-sdk-")));
    const file = join(server.#folder, "roomcast.toml");
    await writeFile(file, config);
    const args = ["serve", ...(dev ? ["--dev"] : []), "--listen", `127.0.0.1:${port}`, "--config", file, "--data-dir", server.#folder];
    const unsaid = Object.entries(PATIENCE).filter(([option]) => !config.includes(option));
    const patience = unsaid.map(([option, delay]) => [`ROOMCAST_CLIENT_${option.toUpperCase()}`, delay]);
    const env = { ...process.env, ...Object.fromEntries(patience) };
    server.#process = spawn(process.env.ROOMCAST_BIN, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    // A test file that dies must not leave a server behind.
    const kill = () => server.#process.kill("SIGKILL");
    process.once("exit", kill);
    server.#ended = new Promise((resolve) => {
      server.#process.once("exit", (code, signal) => {
        process.removeListener("exit", kill);
        resolve(code ?? signal);
      });
    });
    const read = (chunk) => (server.log += chunk);
    server.#process.stdout.setEncoding("utf8").on("data", read);
    server.#process.stderr.setEncoding("utf8").on("data", read);
    await until(
      () => LISTENING.test(server.log) || server.#process.exitCode !== null,
      () => `the server to say where it listens; it said:\n${server.log}`,
    );
    assert.equal(server.#process.exitCode, null, `the server ended at once:\n${server.log}`);
    server.port = Number(LISTENING.exec(server.log)[1]);
    return server;
  }

  /** The sum of a metric over those of its lines that contain `labels`. */
  async metric(name, labels = "") {
    const response = await fetch(`http://127.0.0.1:${this.port}/metrics`);
    const lines = (await response.text()).split("\n");
    return lines
      .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
      .filter((line) => line.includes(labels))
      .reduce((sum, line) => sum + Number(line.split(" ")[1]), 0);
  }

  /** Lets the server drain, and holds that it ended well and that nothing in it broke. With `keep` its data stays. */
  async stop({ keep = false } = {}) {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      this.#process.kill("SIGTERM");
      const timer = setTimeout(() => this.#process.kill("SIGKILL"), STOP_TIMEOUT_MS);
      const status = await this.#ended;
      clearTimeout(timer);
      assert.equal(status, 0, `the server did not drain:\n${this.log}`);
    }
    assert.doesNotMatch(this.log, /panicked|ERROR/);
    if (!keep) await rm(this.#folder, { recursive: true, force: true });
  }

  /** Ends the server as a crash would. With `keep` its data stays. */
  async crash({ keep = false } = {}) {
    this.#process.kill("SIGKILL");
    await this.#ended;
    if (!keep) await rm(this.#folder, { recursive: true, force: true });
  }
}
