// The rooms of this page and the connection they share: joins and leaves, catches up after a loss, sends and resends.
// Tells its listeners with a `change` event (`detail.room`, or none for "which rooms there are"); no DOM.

import { Client } from "./client.js";
import { Room } from "./room.js";
import { ROOMS_MAX, settings } from "./settings.js";

/** Messages fetched when a room is joined, and with each step further back. */
const PAGE_MESSAGES = 100;
/** Most the server returns at once. */
const HISTORY_LIMIT_MAX = 300;
/** Steps of `HISTORY_LIMIT_MAX` taken to close a gap; a longer absence is not read message by message anyway. */
const GAP_PAGES_MAX = 3;
/** A list of people older than this is fetched anew when its room is opened. */
const PEOPLE_FRESH_MS = 30_000;

export class Chat extends EventTarget {
  #client;
  #rooms = new Map();
  #active = null;
  #own = new Set(settings.ownClients);
  #drafts = settings.drafts;
  #peopleAtMs = new WeakMap();

  constructor(url, name) {
    super();
    this.#client = new Client(url, name);
    const on = (type, handle) => this.#client.addEventListener(type, ({ detail }) => handle(detail));
    const inRoom = (type, handle) =>
      on(type, (detail) => {
        const room = this.#rooms.get(detail.room);
        if (!room) return;
        handle(room, detail);
        this.#changed(room);
      });
    on("state", (detail) => this.#onState(detail));
    inRoom("subscribed", (room, detail) => this.#onSubscribed(room, detail));
    inRoom("publication", (room, { publication }) => this.#onPublication(room, publication));
    inRoom("join", (room, { info }) => room.join(info));
    inRoom("leave", (room, { info }) => room.leave(info));
    inRoom("refused", (room, { error }) => this.#block(room, "refused", error));
    inRoom("removed", (room, { code, reason }) => this.#block(room, "removed", { code, message: reason }));
  }

  get rooms() {
    return [...this.#rooms.values()];
  }

  /** The room that is open, or null. */
  get active() {
    return this.#active;
  }

  get clientId() {
    return this.#client.clientId;
  }

  get unread() {
    return this.rooms.reduce((sum, room) => sum + room.unread, 0);
  }

  start() {
    this.#client.reconnect();
  }

  rename(name) {
    this.#client.rename(name);
  }

  /** Joins a room without opening it; null when there are too many already. */
  join(name) {
    const known = this.#rooms.get(name);
    if (known) return known;
    if (this.#rooms.size >= ROOMS_MAX) return null;
    const room = new Room(name);
    this.#rooms.set(name, room);
    this.#client.subscribe(name);
    this.#remember();
    return room;
  }

  leave(name) {
    const room = this.#rooms.get(name);
    if (!room) return;
    this.#client.unsubscribe(name);
    const index = this.rooms.indexOf(room);
    this.#rooms.delete(name);
    this.setDraft(name, "");
    if (this.#active === room) this.#active = this.rooms[Math.min(index, this.#rooms.size - 1)] ?? null;
    this.#remember();
  }

  /** Makes a joined room the one that is looked at. */
  open(name) {
    const room = this.#rooms.get(name);
    if (!room || room === this.#active) return;
    if (this.#active) this.#active.unreadFrom = null;
    this.#active = room;
    if (performance.now() - (this.#peopleAtMs.get(room) ?? 0) > PEOPLE_FRESH_MS) this.#loadPeople(room);
    this.#changed();
  }

  /** Asks again to be let in. */
  retryJoin(name) {
    const room = this.#rooms.get(name);
    if (!room) return;
    room.status = "joining";
    room.problem = null;
    this.#client.resubscribe(name);
    this.#changed(room);
  }

  draft(name) {
    return this.#drafts.get(name) ?? "";
  }

  setDraft(name, text) {
    if (text === this.draft(name)) return;
    if (text === "") this.#drafts.delete(name);
    else this.#drafts.set(name, text);
    settings.drafts = this.#drafts;
  }

  /** Sends `text`, now or once there is a connection. Returns false when too many messages wait already. */
  send(room, text) {
    const id = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`;
    if (!room.enqueue(id, text)) return false;
    this.#flush(room);
    this.#changed(room);
    return true;
  }

  retry(room, unsent) {
    unsent.status = "waiting";
    this.#flush(room);
    this.#changed(room);
  }

  discard(room, unsent) {
    room.pending = room.pending.filter((other) => other !== unsent);
    this.#changed(room);
  }

  /** The reader has seen the newest message. */
  markRead(room) {
    if (room.unread === 0) return;
    room.markRead();
    this.#changed();
  }

  /** Fetches a page of messages before the oldest one known. */
  async loadEarlier(room) {
    if (!room.oldest) return;
    // Whoever asks for these reads up there, and what they ask for is not to be trimmed.
    room.isFollowed = false;
    let added = [];
    do {
      const since = { offset: room.oldest.offset, epoch: room.epoch };
      const { publications } = await this.#client.history(room.name, { limit: PAGE_MESSAGES, since, reverse: true });
      added = this.#addAll(room, publications);
      room.hasEarlier = publications.length > 0 && room.oldest.offset > 1;
      // A page of messages that are here from before a crash shows nothing: it takes the next one.
    } while (added.length === 0 && room.hasEarlier);
    this.#changed(room);
  }

  #onState(detail) {
    if (detail.state === "connected") {
      this.#own.add(this.#client.clientId);
      settings.ownClients = [...this.#own];
    } else {
      for (const room of this.rooms) {
        if (room.status === "joined") room.status = "joining";
      }
    }
    this.dispatchEvent(new CustomEvent("connection", { detail }));
    this.#changed();
  }

  #onSubscribed(room, { recovery, publications, before, position }) {
    room.status = "joined";
    room.problem = null;
    if (recovery === "recovered") {
      for (const publication of publications) this.#onPublication(room, publication);
      if (publications.length > 0) {
        const count = publications.length;
        this.dispatchEvent(new CustomEvent("caughtup", { detail: { room, count } }));
      }
    } else if (recovery === "lost" && before.epoch === position.epoch) {
      room.backlog ??= { since: before };
    } else {
      if (room.beginLife(position.epoch)) {
        room.notice("This room was started afresh while you were away. What was written in between may be missing.");
      }
      room.backlog = { since: null };
    }
    this.#catchUp(room, position);
    this.#loadPeople(room);
  }

  /** Fills `room.backlog`, then sends what waited. A loss in the middle leaves the backlog for the next connection. */
  async #catchUp(room, position) {
    const { backlog } = room;
    try {
      if (backlog?.since) await this.#closeGap(room, backlog, position);
      else if (backlog) await this.#loadNewest(room);
      if (room.backlog === backlog) room.backlog = null;
      this.#flush(room);
    } catch (error) {
      if (!error.isUnanswered) {
        // Without history (refused or switched off) the room still lives from now on.
        room.backlog = null;
        if (backlog?.since) room.notice("Messages sent while you were away could not be loaded.");
        this.#flush(room);
      }
    }
    this.#changed(room);
  }

  async #loadNewest(room) {
    const { publications } = await this.#client.history(room.name, { limit: PAGE_MESSAGES, reverse: true });
    this.#addAll(room, publications);
    room.hasEarlier = (room.oldest?.offset ?? 1) > 1;
  }

  /** The server could not replay everything; page through the history from where we stood. */
  async #closeGap(room, backlog, position) {
    for (let page = 0; page < GAP_PAGES_MAX; page += 1) {
      const { since } = backlog;
      const { publications } = await this.#client.history(room.name, { limit: HISTORY_LIMIT_MAX, since });
      const added = publications.map((publication) => this.#onPublication(room, publication)).filter(Boolean);
      const first = publications[0]?.offset ?? position.offset + 1;
      if (first > since.offset + 1) this.#noteGap(room, added[0]);
      if (publications.length === 0) return;
      backlog.since = { offset: publications.at(-1).offset, epoch: since.epoch };
      if (backlog.since.offset >= position.offset) return;
    }
    const { publications } = await this.#client.history(room.name, { limit: PAGE_MESSAGES, reverse: true });
    const newest = this.#addAll(room, publications);
    this.#noteGap(room, newest.reduce((a, b) => (a && a.offset < b.offset ? a : b), null));
  }

  #noteGap(room, before) {
    room.notice("You were away for long; some messages in between are no longer kept here.", before);
  }

  #addAll(room, publications) {
    return publications.map((publication) => room.add(publication, (id) => this.#own.has(id))).filter(Boolean);
  }

  #onPublication(room, publication) {
    const message = room.add(publication, (id) => this.#own.has(id));
    if (message) this.dispatchEvent(new CustomEvent("message", { detail: { room, message } }));
    return message;
  }

  async #loadPeople(room) {
    this.#peopleAtMs.set(room, performance.now());
    // Joins and leaves that arrive before the list are newer than it.
    const meanwhile = [];
    const note = ({ type, detail }) => {
      if (detail.room === room.name) meanwhile.push({ type, info: detail.info });
    };
    this.#client.addEventListener("join", note);
    this.#client.addEventListener("leave", note);
    try {
      room.setPeople(await this.#client.presence(room.name));
      for (const { type, info } of meanwhile) room[type](info);
      this.#changed(room);
    } catch {
      // Not connected any more, or presence is switched off: the list stays as joins and leaves tell it.
    } finally {
      this.#client.removeEventListener("join", note);
      this.#client.removeEventListener("leave", note);
    }
  }

  /** Sends what waits in a room, in order. What the last connection left unanswered is sent again only here, after
   * catching up: had it arrived, it would have come back to us by now. */
  #flush(room) {
    if (room.status !== "joined" || room.backlog) return;
    for (const unsent of room.pending) {
      if (unsent.status !== "waiting") continue;
      unsent.status = "sending";
      this.#client.publish(room.name, { text: unsent.text, id: unsent.id }).catch((error) => {
        if (error.isUnanswered) {
          unsent.status = "waiting";
        } else {
          unsent.status = "failed";
          unsent.problem = error.message;
        }
        this.#changed(room);
      });
    }
  }

  #block(room, status, problem) {
    room.status = status;
    room.problem = problem;
    room.people.clear();
  }

  #remember() {
    settings.rooms = [...this.#rooms.keys()];
    this.#changed();
  }

  #changed(room) {
    this.dispatchEvent(new CustomEvent("change", { detail: { room } }));
  }
}
