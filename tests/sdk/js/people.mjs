// People at the SDK: clients that note everything they are told.

import { createRequire } from "node:module";
import { join } from "node:path";
import { until } from "./until.mjs";

const require = createRequire(join(process.env.ROOMCAST_SDK_TOOLS, "package.json"));
export const { Centrifuge } = require("centrifuge");
export const { WebSocket } = require("ws");

/** Someone with a connection, from `connect()` on. */
export class Person {
  /** Each `connected` event. */
  connected = [];
  /** Each `connecting` event: the first attempt and every loss that is followed by another. */
  connecting = [];
  /** Each `disconnected` event: only ends that last. */
  disconnected = [];
  errors = [];
  /** Every text frame on this person's sockets, for what no event tells: `{ sent }` or `{ heard }`. */
  frames = [];
  client;
  #socket;

  constructor(server, name, options = {}) {
    const person = this;
    class Socket extends WebSocket {
      constructor(...args) {
        super(...args);
        person.#socket = this;
        this.on("message", (data) => person.frames.push({ heard: data.toString() }));
      }

      send(data, ...rest) {
        person.frames.push({ sent: data.toString() });
        super.send(data, ...rest);
      }
    }
    this.client = new Centrifuge(server.url, {
      websocket: Socket,
      data: { name },
      minReconnectDelay: 10,
      maxReconnectDelay: 100,
      ...options,
    });
    for (const event of ["connected", "connecting", "disconnected"]) {
      this.client.on(event, (context) => this[event].push(context));
    }
    this.client.on("error", (context) => this.errors.push(context));
  }

  /** Someone connected; `t` is the test, at whose end they leave. */
  static async connect(t, server, name, options) {
    const person = new Person(server, name, options);
    t.after(() => person.client.disconnect());
    person.client.connect();
    await person.client.ready();
    return person;
  }

  /** The id of the connection. */
  get id() {
    return this.connected.at(-1)?.client;
  }

  /** Prepares a subscription without subscribing. */
  member(room, options) {
    return new Member(this.client, room, options);
  }

  /** Enters a room. */
  async enter(room, options) {
    const member = this.member(room, options);
    member.subscription.subscribe();
    await member.subscription.ready();
    return member;
  }

  /** Loses the connection without a word, as in a tunnel. */
  cut() {
    this.#socket.terminate();
  }
}

/** A person in one room. */
export class Member {
  publications = [];
  joins = [];
  leaves = [];
  /** Each `subscribed` event. */
  entered = [];
  /** Each `unsubscribed` event: only ends that last. */
  left = [];
  errors = [];

  constructor(client, room, options) {
    this.subscription = client.newSubscription(room, { minResubscribeDelay: 10, maxResubscribeDelay: 100, ...options });
    this.subscription
      .on("publication", (context) => this.publications.push(context))
      .on("join", (context) => this.joins.push(context.info))
      .on("leave", (context) => this.leaves.push(context.info))
      .on("subscribed", (context) => this.entered.push(context))
      .on("unsubscribed", (context) => this.left.push(context))
      .on("error", (context) => this.errors.push(context));
  }

  get data() {
    return this.publications.map((publication) => publication.data);
  }

  get offsets() {
    return this.publications.map((publication) => publication.offset);
  }

  /** Resolves when this many publications have come in all. */
  async heard(count) {
    await until(() => this.publications.length >= count, () => `${count} publications, had ${this.publications.length}`);
  }
}

/** Publishes 0, 1, … `count` - 1 from `first` on, in order, many under way at a time. */
export async function publishNumbers(client, room, count, first = 0) {
  const WINDOW = 100;
  for (let from = first; from < first + count; from += WINDOW) {
    const to = Math.min(from + WINDOW, first + count);
    await Promise.all(range(from, to).map((number) => client.publish(room, number)));
  }
}

/** The integers from `from` up to and without `to`. */
export function range(from, to) {
  return Array.from({ length: to - from }, (_, index) => from + index);
}
