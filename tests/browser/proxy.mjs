// A TCP proxy that a test owns: it stands between a client and the server and breaks the connection in the ways
// networks break. Every cut also holds for connections made while it lasts.
//
// - `pass`: bytes go through
// - `reset`: both sides are reset, new connections are reset at once
// - `stall`: nothing moves in either direction, nothing is closed; both sides have to find out by themselves
// - `half-open`: the client's side is closed, the server's side stays open and silent

import net from "node:net";

export class Proxy {
  #server;
  #upstreamPort;
  #mode = "pass";
  /** Pairs `{ client, upstream }`; a half-open one has no client any more. */
  #pairs = new Set();

  /** Listens on a free loopback port and forwards to `upstreamPort`. */
  static async start(upstreamPort) {
    const proxy = new Proxy();
    proxy.#upstreamPort = upstreamPort;
    proxy.#server = net.createServer({ noDelay: true }, (client) => proxy.#accept(client));
    await new Promise((resolve, reject) => {
      proxy.#server.once("error", reject);
      proxy.#server.listen(0, "127.0.0.1", resolve);
    });
    return proxy;
  }

  get port() {
    return this.#server.address().port;
  }

  get url() {
    return `http://127.0.0.1:${this.port}/`;
  }

  /** Breaks what is there and what comes, until `restore`. */
  cut(mode) {
    this.#mode = mode;
    for (const pair of this.#pairs) this.#apply(pair);
  }

  /** New connections pass again. What was broken stays broken. */
  restore() {
    this.#mode = "pass";
    for (const pair of this.#pairs) this.#close(pair);
  }

  /** Ends what passes and forwards to another server from now on. */
  redirect(upstreamPort) {
    this.#upstreamPort = upstreamPort;
    for (const pair of this.#pairs) this.#close(pair);
  }

  async stop() {
    this.#mode = "reset";
    for (const pair of this.#pairs) this.#close(pair);
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(client) {
    const pair = { client, upstream: null };
    // A broken connection is what this is about; its errors are not news.
    client.on("error", () => {});
    if (this.#mode === "reset" || this.#mode === "half-open") {
      client.resetAndDestroy();
      return;
    }
    this.#pairs.add(pair);
    client.on("close", () => this.#ended(pair, "client"));
    if (this.#mode === "stall") {
      client.pause();
      return;
    }
    const upstream = net.connect({ port: this.#upstreamPort, host: "127.0.0.1", noDelay: true });
    pair.upstream = upstream;
    upstream.on("error", () => {});
    upstream.on("close", () => this.#ended(pair, "upstream"));
    client.pipe(upstream);
    upstream.pipe(client);
  }

  #apply(pair) {
    const { client, upstream } = pair;
    if (this.#mode === "reset") {
      client.resetAndDestroy();
      upstream?.resetAndDestroy();
      return;
    }
    client.unpipe();
    upstream?.unpipe();
    client.pause();
    upstream?.pause();
    if (this.#mode === "half-open") client.destroy();
  }

  /** One side of a pair is gone; the other follows, except where the cut says that it must not notice. */
  #ended(pair, side) {
    if (this.#mode === "half-open" && side === "client") return;
    if (this.#mode === "stall") return;
    this.#close(pair);
  }

  #close(pair) {
    this.#pairs.delete(pair);
    pair.client.destroy();
    pair.upstream?.destroy();
  }
}
