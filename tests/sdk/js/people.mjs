// People at the SDK: clients that note everything they are told. Messages are JSON for all of them; where the SDK takes
// and gives bytes, they are encoded and decoded here.

import { SDK } from "./packages.mjs";
import { PATIENCE_MS, until } from "./until.mjs";
import { Wire } from "./wire.mjs";

/** Someone with a connection, from `connect()` on. */
export class Person {
  /** Each `connected` event. */
  connected = [];
  /** Each `connecting` event: the first attempt and every loss that is followed by another. */
  connecting = [];
  /** Each `disconnected` event: only ends that last. */
  disconnected = [];
  errors = [];
  /** What happens in rooms that the server put this person into, by event. */
  served = { subscribed: [], subscribing: [], unsubscribed: [], publication: [], join: [], leave: [] };
  wire = new Wire();
  client;
  #payload;
  #isEmulated;

  /** `place` says by which `way` and to which `port` of this machine. */
  constructor({ way, port }, name, { data = { name }, endpoints = endpointsOf(way, port), ...options } = {}) {
    this.#payload = PAYLOADS[way.encoding];
    this.#isEmulated = way.isEmulated;
    this.client = new SDK[way.encoding](endpoints, {
      ...this.wire.options,
      emulationEndpoint: `http://127.0.0.1:${port}/emulation`,
      data: this.#payload.encode(data),
      minReconnectDelay: 10,
      maxReconnectDelay: 100,
      // An answer that takes its time is no lost connection.
      timeout: PATIENCE_MS,
      ...options,
    });
    for (const event of ["connected", "connecting", "disconnected"]) {
      this.client.on(event, (context) => this[event].push(context));
    }
    for (const [event, contexts] of Object.entries(this.served)) {
      this.client.on(event, (context) => contexts.push(this.#payload.read(context)));
    }
    this.client.on("error", (context) => this.errors.push(context));
  }

  /** Someone connected; `t` is the test, at whose end they leave. */
  static async connect(t, place, name, options) {
    const person = new Person(place, name, options);
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
    return new Member(this.client, this.#payload, room, options);
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
    this.wire.cut();
  }

  publish(room, data) {
    return this.client.publish(room, this.#payload.encode(data));
  }

  /** Publishes 0, 1, … `count` - 1 from `first` on, in order, many under way at a time. */
  async publishNumbers(room, count, first = 0) {
    const WINDOW = 100;
    for (let from = first; from < first + count; from += WINDOW) {
      const to = Math.min(from + WINDOW, first + count);
      // Only within one request do commands keep their order there.
      if (this.#isEmulated) this.client.startBatching();
      const published = range(from, to).map((number) => this.publish(room, number));
      if (this.#isEmulated) this.client.stopBatching();
      await Promise.all(published);
    }
  }

  async history(room, options) {
    return this.#payload.readHistory(await this.client.history(room, options));
  }

  async presence(room) {
    return this.#payload.readPresence(await this.client.presence(room));
  }

  presenceStats(room) {
    return this.client.presenceStats(room);
  }

  rpc(method, data) {
    return this.client.rpc(method, this.#payload.encode(data));
  }

  send(data) {
    return this.client.send(this.#payload.encode(data));
  }
}

function endpointsOf({ transport, isEmulated }, port) {
  const path = `127.0.0.1:${port}/connection/${transport}`;
  return isEmulated ? [{ transport, endpoint: `http://${path}` }] : `ws://${path}`;
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
  #payload;

  constructor(client, payload, room, options) {
    this.#payload = payload;
    const delays = { minResubscribeDelay: 10, maxResubscribeDelay: 100 };
    this.subscription = client
      .newSubscription(room, { ...delays, ...options })
      .on("publication", (context) => this.publications.push(payload.read(context)))
      .on("join", (context) => this.joins.push(payload.read(context).info))
      .on("leave", (context) => this.leaves.push(payload.read(context).info))
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
    const had = () => this.publications.length;
    await until(() => had() >= count, () => `${count} publications, had ${had()}`);
  }

  publish(data) {
    return this.subscription.publish(this.#payload.encode(data));
  }

  async history(options) {
    return this.#payload.readHistory(await this.subscription.history(options));
  }

  async presence() {
    return this.#payload.readPresence(await this.subscription.presence());
  }

  presenceStats() {
    return this.subscription.presenceStats();
  }
}

/** What the application and its SDK hand each other, by encoding of the connection. */
class Payload {
  #decode;

  constructor(encode, decode) {
    this.encode = encode;
    this.#decode = decode;
  }

  /** An event or a publication with its payloads as JSON values. */
  read(context) {
    const read = { ...context };
    if (context.data !== undefined) read.data = this.#decode(context.data);
    if (context.info !== undefined) read.info = this.#readInfo(context.info);
    return read;
  }

  readHistory(history) {
    return { ...history, publications: history.publications.map((publication) => this.read(publication)) };
  }

  readPresence({ clients }) {
    return { clients: Object.fromEntries(Object.entries(clients).map(([id, info]) => [id, this.#readInfo(info)])) };
  }

  #readInfo(info) {
    const read = { client: info.client, user: info.user };
    for (const field of ["connInfo", "chanInfo"]) {
      const payload = info[field] === undefined ? undefined : this.#decode(info[field]);
      if (payload !== undefined) read[field] = payload;
    }
    return read;
  }
}

const same = (value) => value;
const PAYLOADS = {
  json: new Payload(same, same),
  protobuf: new Payload(
    (value) => new TextEncoder().encode(JSON.stringify(value)),
    // Nothing and no bytes are one in Protobuf.
    (bytes) => (bytes.length === 0 ? undefined : JSON.parse(new TextDecoder().decode(bytes))),
  ),
};

/** The integers from `from` up to and without `to`. */
export function range(from, to) {
  return Array.from({ length: to - from }, (_, index) => from + index);
}
