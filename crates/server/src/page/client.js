// A small client of the Centrifugo protocol, version 2, JSON over WebSocket.
//
// It keeps one connection alive, keeps the wanted rooms subscribed, and hands every message of a room to its listeners
// once and in order, across reconnects: a room's position (offset and epoch) moves only when a message was handed over,
// and the position is what a new connection recovers from.

import { Backoff } from "./backoff.js";

/** A command unanswered for this long failed. */
const COMMAND_TIMEOUT_MS = 10_000;
/** How much longer than the server's ping interval silence may last before the connection counts as dead. */
const PING_SLACK_MS = 10_000;
/** Until the server has named its interval. */
const PING_DEFAULT_S = 25;
/** How long a doubtful connection (network change, page woken up) has to answer. */
const PROBE_TIMEOUT_MS = 3_000;
/** How long a room's temporary refusal is waited out before it is asked again. */
const RESUBSCRIBE_DELAY_MS = 2_000;
/** Commands that may wait for an answer at once; more is a fault of the page. */
const COMMANDS_PENDING_MAX = 512;

/** Why a command failed: `code` is the protocol's; 0 means that no answer came. */
export class CommandError extends Error {
  constructor(code, message, temporary = false) {
    super(message);
    this.code = code;
    this.temporary = temporary;
  }

  /** True when the server may or may not have carried the command out. */
  get isUnanswered() {
    return this.code === 0;
  }
}

/**
 * Events (all `CustomEvent`s with a `detail`):
 * - `state` `{ state, retryAtMs?, reason? }`, where state is one of `connecting`, `connected`, `waiting` (for the next
 *   attempt), `offline` (waiting, and the browser says why) and `closed` (ended by the server, for good)
 * - `subscribed` `{ room, recovery, publications }`, recovery being `none`, `recovered` or `lost`
 * - `refused` `{ room, error }`: the server does not let us in
 * - `removed` `{ room, code, reason }`: the server took us out
 * - `publication`, `join`, `leave` `{ room, ... }`
 */
export class Client extends EventTarget {
  #url;
  #name;
  #socket = null;
  #state = "idle";
  #clientId = "";
  #pingMs = PING_DEFAULT_S * 1000;
  #mustPong = false;
  #lastFrameMs = 0;
  #nextId = 1;
  #pending = new Map();
  #rooms = new Map();
  #backoff = new Backoff();
  #retryTimer = 0;
  #watchTimer = 0;
  #setupTimer = 0;

  constructor(url, name) {
    super();
    this.#url = url;
    this.#name = name;
    window.addEventListener("online", () => this.#networkChanged());
    window.addEventListener("offline", () => this.#networkChanged());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#networkChanged();
    });
    // A page kept for "back" holds no socket of ours that the browser had to cut; coming back is a fresh start.
    window.addEventListener("pagehide", () => this.#drop("page left"));
    window.addEventListener("pageshow", (event) => {
      if (event.persisted) this.reconnect();
    });
  }

  /** This connection's id, empty while there is none. */
  get clientId() {
    return this.#clientId;
  }

  get isConnected() {
    return this.#state === "connected";
  }

  /** Connects now, whatever the backoff says, and again after a terminal close. */
  reconnect() {
    if (this.#state === "connected" || this.#state === "connecting") return;
    this.#open();
  }

  /** Presents us under another name; takes a new connection, the rooms recover. */
  rename(name) {
    if (name === this.#name) return;
    this.#name = name;
    this.#drop("renamed");
    this.#open();
  }

  /** Wants `room`; it is (re)subscribed whenever there is a connection. */
  subscribe(room) {
    if (this.#rooms.has(room)) return;
    this.#rooms.set(room, { position: null, active: false, timer: 0 });
    if (this.isConnected) this.#sendSubscribe(room);
  }

  /** Tries again after a refusal or a removal. */
  resubscribe(room) {
    const entry = this.#rooms.get(room);
    if (entry && !entry.active && this.isConnected) this.#sendSubscribe(room);
  }

  unsubscribe(room) {
    const entry = this.#rooms.get(room);
    if (!entry) return;
    this.#rooms.delete(room);
    clearTimeout(entry.timer);
    if (entry.active && this.isConnected) this.#request("unsubscribe", { channel: room }).catch(() => {});
  }

  /** @throws {CommandError} */
  publish(room, data) {
    return this.#request("publish", { channel: room, data });
  }

  /**
   * `options`: `limit`, and to page `since` `{offset, epoch}` (exclusive) and `reverse`.
   * @throws {CommandError}
   */
  async history(room, options) {
    const result = await this.#request("history", { channel: room, ...options });
    return { publications: result.publications ?? [], epoch: result.epoch ?? "", offset: result.offset ?? 0 };
  }

  /** Who is in the room, by client id. @throws {CommandError} */
  async presence(room) {
    const result = await this.#request("presence", { channel: room });
    return result.presence ?? {};
  }

  #open() {
    clearTimeout(this.#retryTimer);
    this.#setState("connecting");
    let socket;
    try {
      socket = new WebSocket(this.#url);
    } catch (error) {
      this.#setState("closed", { reason: error.message });
      return;
    }
    this.#socket = socket;
    this.#setupTimer = setTimeout(() => this.#lost(socket, "no answer"), COMMAND_TIMEOUT_MS);
    socket.onopen = () => this.#greet(socket);
    socket.onmessage = (event) => this.#onFrame(socket, event.data);
    socket.onclose = (event) => this.#onClose(socket, event);
  }

  #greet(socket) {
    this.#request("connect", { name: "roomcast-page", data: { name: this.#name } }).then(
      (result) => {
        if (socket !== this.#socket) return;
        clearTimeout(this.#setupTimer);
        this.#clientId = result.client;
        this.#pingMs = (result.ping || PING_DEFAULT_S) * 1000;
        this.#mustPong = Boolean(result.pong);
        this.#backoff.reset();
        this.#watch(socket);
        this.#setState("connected");
        for (const room of this.#rooms.keys()) this.#sendSubscribe(room);
      },
      (error) => {
        if (socket !== this.#socket) return;
        if (error.isUnanswered || error.temporary) this.#lost(socket, error.message);
        else this.#end(error.message);
      },
    );
  }

  #onFrame(socket, text) {
    if (socket !== this.#socket) return;
    this.#lastFrameMs = performance.now();
    for (const line of text.split("\n")) {
      if (line === "") continue;
      let message;
      try {
        message = JSON.parse(line);
      } catch {
        this.#lost(socket, "the server sent something that is not JSON");
        return;
      }
      if (message.push) this.#onPush(message.push);
      else if (message.id) this.#onReply(message);
      else if (this.#mustPong) socket.send("{}");
      // A listener may have ended this connection.
      if (socket !== this.#socket) return;
    }
  }

  #onReply(reply) {
    const waiting = this.#pending.get(reply.id);
    if (!waiting) return;
    this.#pending.delete(reply.id);
    clearTimeout(waiting.timer);
    if (reply.error) {
      const { code, message, temporary } = reply.error;
      waiting.reject(new CommandError(code, message, Boolean(temporary)));
    } else {
      waiting.resolve(reply[waiting.method] ?? {});
    }
  }

  #onPush(push) {
    if (push.disconnect) return; // The close that follows carries the same code.
    const room = push.channel;
    const entry = this.#rooms.get(room);
    if (!entry?.active) return;
    if (push.pub) this.#deliver(room, entry, push.pub);
    else if (push.join) this.#emit("join", { room, info: push.join.info });
    else if (push.leave) this.#emit("leave", { room, info: push.leave.info });
    else if (push.unsubscribe) {
      entry.active = false;
      const { code = 0, reason = "" } = push.unsubscribe;
      if (code >= 2500) this.#sendSubscribe(room);
      else this.#emit("removed", { room, code, reason });
    }
  }

  /** Hands a live message over, unless it is known already; asks for what is missing where one was skipped. */
  #deliver(room, entry, publication) {
    const { position } = entry;
    const { offset } = publication;
    if (offset && position) {
      if (offset <= position.offset) return;
      if (offset > position.offset + 1) {
        this.#recoverGap(room, entry);
        return;
      }
      position.offset = offset;
    }
    this.#emit("publication", { room, publication });
  }

  /** The protocol promises no gap; should one appear, the truth is one subscribe away. */
  #recoverGap(room, entry) {
    entry.active = false;
    this.#request("unsubscribe", { channel: room })
      .then(() => this.#sendSubscribe(room))
      .catch(() => {});
  }

  #sendSubscribe(room) {
    const entry = this.#rooms.get(room);
    if (!entry) return;
    clearTimeout(entry.timer);
    const params = { channel: room, positioned: true, recoverable: true, join_leave: true };
    if (entry.position) Object.assign(params, { recover: true, ...entry.position });
    // The reply is handled inside the frame that carries it: the pushes behind it belong to the new position.
    this.#request("subscribe", params, {
      resolve: (result) => this.#onSubscribed(room, result),
      reject: (error) => this.#onRefused(room, error),
    });
  }

  #onSubscribed(room, result) {
    const entry = this.#rooms.get(room);
    if (!entry) {
      // Left while the answer was on its way.
      this.#request("unsubscribe", { channel: room }).catch(() => {});
      return;
    }
    entry.active = true;
    const before = entry.position;
    let recovery = "none";
    if (before) recovery = result.recovered ? "recovered" : "lost";
    const publications = result.publications ?? [];
    // The reply names the position that was asked for; what was missed since is handed over with it.
    const offset = publications.at(-1)?.offset ?? result.offset ?? 0;
    entry.position = { offset, epoch: result.epoch ?? "" };
    this.#emit("subscribed", { room, recovery, publications, before, position: { ...entry.position } });
  }

  #onRefused(room, error) {
    const entry = this.#rooms.get(room);
    // Left, and perhaps joined again on the answer to an earlier request: then this one was one too many.
    if (!entry || entry.active || error.isUnanswered) return;
    if (error.temporary) {
      entry.timer = setTimeout(() => {
        if (this.isConnected) this.#sendSubscribe(room);
      }, RESUBSCRIBE_DELAY_MS);
      return;
    }
    this.#emit("refused", { room, error });
  }

  /** Sends a command. With `handlers` the answer is handled synchronously, else a promise is returned. */
  #request(method, params, handlers) {
    if (!handlers) {
      return new Promise((resolve, reject) => this.#request(method, params, { resolve, reject }));
    }
    if (this.#socket?.readyState !== WebSocket.OPEN) {
      handlers.reject(new CommandError(0, "not connected", true));
      return undefined;
    }
    if (this.#pending.size >= COMMANDS_PENDING_MAX) {
      handlers.reject(new CommandError(111, "too many commands are waiting", true));
      return undefined;
    }
    const id = this.#nextId++;
    const socket = this.#socket;
    const timer = setTimeout(() => this.#lost(socket, `no answer to ${method}`), COMMAND_TIMEOUT_MS);
    this.#pending.set(id, { method, timer, ...handlers });
    socket.send(JSON.stringify({ id, [method]: params }));
    return undefined;
  }

  #watch(socket) {
    clearInterval(this.#watchTimer);
    this.#watchTimer = setInterval(() => {
      if (performance.now() - this.#lastFrameMs > this.#pingMs + PING_SLACK_MS) this.#lost(socket, "no ping");
    }, 1_000);
  }

  /** The network changed or the page woke up: what was alive may be dead without a sign, what was dead may be alive. */
  #networkChanged() {
    if (this.#state === "waiting" || this.#state === "offline") {
      if (navigator.onLine) this.#open();
      else this.#setState("offline", { retryAtMs: this.#backoff.dueMs });
    } else if (this.#state === "connected") {
      const socket = this.#socket;
      const probe = setTimeout(() => this.#lost(socket, "no answer to a probe"), PROBE_TIMEOUT_MS);
      // An answer of any kind is a sign of life.
      this.#request("ping", {})
        .catch(() => {})
        .finally(() => clearTimeout(probe));
    }
  }

  #onClose(socket, event) {
    if (socket !== this.#socket) return;
    const terminal = (event.code >= 3500 && event.code < 4000) || (event.code >= 4500 && event.code < 5000);
    if (terminal) this.#end(event.reason || `code ${event.code}`);
    else this.#lost(socket, event.reason || "connection lost");
  }

  #lost(socket, reason) {
    if (socket !== this.#socket) return;
    this.#drop(reason);
    const delayMs = this.#backoff.next();
    this.#retryTimer = setTimeout(() => this.#open(), delayMs);
    this.#setState(navigator.onLine ? "waiting" : "offline", { retryAtMs: this.#backoff.dueMs, reason });
  }

  #end(reason) {
    this.#drop(reason);
    this.#setState("closed", { reason });
  }

  /** Forgets the socket and fails what waited on it; decides nothing about what comes next. */
  #drop(reason) {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#setupTimer);
    clearInterval(this.#watchTimer);
    const socket = this.#socket;
    this.#socket = null;
    this.#clientId = "";
    for (const entry of this.#rooms.values()) {
      entry.active = false;
      clearTimeout(entry.timer);
    }
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    // Not "waiting" yet: a listener that asks sees that there is no connection.
    this.#state = "idle";
    const waiting = [...this.#pending.values()];
    this.#pending.clear();
    for (const { timer, reject } of waiting) {
      clearTimeout(timer);
      reject(new CommandError(0, reason, true));
    }
  }

  #setState(state, detail = {}) {
    this.#state = state;
    this.#emit("state", { state, ...detail });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
