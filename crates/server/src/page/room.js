// What the page knows about one room: its messages in order, its own unsent ones, who is here, what is unread.
// No network and no DOM.

import { messageText } from "./text.js";

/** Messages kept per room; the oldest make way. */
export const MESSAGES_MAX = 500;
/** While somebody reads further up, new messages do not pull the text away from under them, up to here. */
const MESSAGES_WHILE_READING_MAX = 1_000;
/** Unsent messages per room. */
export const PENDING_MAX = 50;

export class Room {
  /** `joining`, `joined`, `refused` or `removed`. */
  status = "joining";
  /** Why not `joined`: `{ code, message }`. */
  problem = null;
  /** Messages and notices, oldest first. */
  items = [];
  /** Own messages that have not come back from the server. */
  pending = [];
  /** Who is here: client id → `{ client, user, name }`. */
  people = new Map();
  unread = 0;
  /** The first message after which the reader was away, for the divider. */
  unreadFrom = null;
  /** Whether the server may hold messages older than the oldest one here. */
  hasEarlier = false;
  /** Whether the reader is at the newest message; then older ones may be trimmed. */
  isFollowed = true;
  /** Set while messages are missing that the history may still hold: `{ since }`, `since` null = the newest will do. */
  backlog = null;
  epoch = null;
  /** Counts the room's lives on the server: offsets compare only within one. */
  #life = 0;

  constructor(name) {
    this.name = name;
  }

  /** The room has (another) `epoch`; offsets start over. Returns true if it had one before. */
  beginLife(epoch) {
    const hadLife = this.epoch !== null;
    this.epoch = epoch;
    this.#life += 1;
    this.hasEarlier = false;
    return hadLife;
  }

  /** Takes a publication in at its place. Returns the message, or null when it is known already. */
  add(publication, isOwn) {
    const offset = publication.offset ?? 0;
    const author = person(publication.info);
    const own = isOwn(author.client);
    const { id } = publication.data ?? {};
    if (own && id) this.pending = this.pending.filter((unsent) => unsent.id !== id);
    const place = this.#place(offset);
    if (place === -1 || this.#isOfEarlierLife(publication, author)) return null;
    const message = {
      kind: "message",
      life: this.#life,
      offset,
      id,
      author,
      own,
      text: messageText(publication.data),
      timeMs: publication.time || Date.now(),
    };
    this.items.splice(place, 0, message);
    this.#trim();
    return message;
  }

  /**
   * Whether this is a message that the room had in an earlier life: one that the server has kept, with its offset and its time,
   * under another epoch. It stays where it is and counts for the present life from then on.
   */
  #isOfEarlierLife({ offset, time, data }, author) {
    if (!offset || !time) return false;
    const known = this.items.find(
      (item) =>
        item.kind === "message" &&
        item.life !== this.#life &&
        item.offset === offset &&
        item.timeMs === time &&
        item.id === data?.id &&
        item.author.client === author.client,
    );
    if (known) known.life = this.#life;
    return known !== undefined;
  }

  /** Says something about the room itself, before the message `before` or at the end. */
  notice(text, before) {
    const place = before ? this.items.indexOf(before) : -1;
    this.items.splice(place === -1 ? this.items.length : place, 0, { kind: "notice", life: this.#life, text });
  }

  /** The oldest message of the present life, or undefined. */
  get oldest() {
    return this.items.find((item) => item.kind === "message" && item.life === this.#life);
  }

  /** Whether it makes sense to ask for older messages: there may be some, and there is space for them. */
  get canLoadEarlier() {
    return this.hasEarlier && this.oldest !== undefined && this.items.length < MESSAGES_WHILE_READING_MAX;
  }

  markUnread(message) {
    if (message.own) return;
    if (this.unread === 0) this.unreadFrom = message;
    this.unread += 1;
  }

  markRead() {
    this.unread = 0;
  }

  /** @returns {boolean} false when too many wait already */
  enqueue(id, text) {
    if (this.pending.length >= PENDING_MAX) return false;
    this.pending.push({ kind: "pending", id, text, timeMs: Date.now(), status: "waiting", problem: "" });
    return true;
  }

  setPeople(presence) {
    this.people = new Map(Object.values(presence).map((info) => [info.client, person(info)]));
  }

  join(info) {
    this.people.set(info.client, person(info));
  }

  leave(info) {
    this.people.delete(info.client);
  }

  /** Names that more than one person here goes by, or that somebody shares with us. */
  sharedNames() {
    const seen = new Map();
    const shared = new Set();
    const note = ({ name, client }) => {
      const holder = seen.get(name);
      if (holder === undefined) seen.set(name, client);
      else if (holder !== client) shared.add(name);
    };
    for (const present of this.people.values()) note(present);
    return shared;
  }

  /** Where a message with `offset` belongs, -1 when there is one. Searched from the end: that is where most go. */
  #place(offset) {
    const isOfThisLife = (item) => item.life === this.#life;
    const first = this.items.findIndex(isOfThisLife);
    let place = this.items.length;
    // Those of an earlier life have offsets of their own: between those of the present one they are passed over.
    while (first !== -1 && place > first) {
      const item = this.items[place - 1];
      if (isOfThisLife(item) && item.kind === "message") {
        // Without history the server gives no offsets; then order of arrival is all there is.
        if (item.offset === offset && offset !== 0) return -1;
        if (item.offset <= offset) break;
      }
      place -= 1;
    }
    // A notice stays behind the message it followed, and what the server has lost where it was read.
    const isOvertaken = (item) => item !== undefined && (item.kind === "notice" || !isOfThisLife(item));
    while (isOvertaken(this.items[place])) place += 1;
    return place;
  }

  #trim() {
    const bound = this.isFollowed ? MESSAGES_MAX : MESSAGES_WHILE_READING_MAX;
    const excess = this.items.length - bound;
    if (excess <= 0) return;
    this.items.splice(0, excess);
    this.hasEarlier = true;
  }
}

function person(info) {
  const name = info?.conn_info?.name || info?.chan_info?.name || info?.user || "Somebody";
  return { client: info?.client ?? "", user: info?.user ?? "", name: String(name) };
}
