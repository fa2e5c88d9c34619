// The messages of the open room, on screen. Rows are kept by message and rebuilt only when they would look different.

import { arrange, element, icon, part } from "./dom.js";
import { avatar, nameOf } from "./people.js";
import { clockTime, counted, dayKey, dayName, fullTime, linkified } from "./text.js";

/** Messages that one author writes within this time read as one. */
const GROUP_MS = 5 * 60_000;
/** Nearer to the end than this counts as reading the newest message. */
const FOLLOW_PIXELS = 48;
/** Space above the line that says where the new messages begin. */
const UNREAD_TOP_PIXELS = 64;
/** The key of that line among the rows. */
const UNREAD = "unread";
/** Longer texts are folded. */
const FOLDED_CHARACTERS = 1_200;
const FOLDED_LINES = 16;

export class Timeline {
  #scroller = part("timeline");
  #list = part("messages");
  #jump = part("jump");
  #earlier = part("earlier");
  #room = null;
  /** item → `{ look, row }`: the row on screen and what it depends on. */
  #rows = new Map();
  #unfolded = new WeakSet();

  /** `self()` is who we are; `onSeen(room)`: the reader is at the end; `onEarlier(room)` returns a promise. */
  constructor({ self, onSeen, onEarlier, onRetry, onDiscard }) {
    this.self = self;
    this.onSeen = onSeen;
    this.onRetry = onRetry;
    this.onDiscard = onDiscard;
    this.#scroller.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    this.#jump.addEventListener("click", () => this.follow());
    this.#earlier.addEventListener("click", async () => {
      this.#earlier.disabled = true;
      await onEarlier(this.#room).catch(() => {});
      this.#earlier.disabled = false;
    });
    // The on-screen keyboard, a growing composer, an unfolded text: who was at the end stays there.
    const observer = new ResizeObserver(() => {
      if (this.#room?.isFollowed) this.#toEnd();
    });
    observer.observe(this.#scroller);
    observer.observe(this.#list);
  }

  /** Shows `room` as it is now. */
  update(room) {
    const isNew = room !== this.#room;
    if (isNew) this.#switch(room);
    if (!room) return;
    const anchor = room.isFollowed ? null : this.#anchor();
    this.#earlier.hidden = !room.canLoadEarlier;
    arrange(this.#list, this.#layOut(room));
    if (isNew && room.unread > 0) this.#toUnread();
    else if (!anchor) this.#toEnd();
    else this.#scroller.scrollTop += (this.#rows.get(anchor.key)?.row.offsetTop ?? anchor.top) - anchor.top;
    this.#markSeen();
    this.#updateJump();
  }

  /** Goes to the newest message and stays there. */
  follow() {
    if (!this.#room) return;
    this.#room.isFollowed = true;
    this.#toEnd();
    this.#markSeen();
    this.#updateJump();
  }

  get isFollowing() {
    return this.#room?.isFollowed ?? true;
  }

  get #isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < FOLLOW_PIXELS;
  }

  #switch(room) {
    this.#room = room;
    this.#rows.clear();
    this.#list.replaceChildren();
    if (!room) return;
    room.isFollowed = true;
  }

  /** The rows of `room` in order. */
  #layOut(room) {
    const shared = room.sharedNames();
    const rows = new Map();
    const elements = [];
    let day = "";
    let lead = null;
    for (const item of [...room.items, ...room.pending]) {
      const isNotice = item.kind === "notice";
      if (!isNotice && dayKey(item.timeMs) !== day) {
        day = dayKey(item.timeMs);
        elements.push(this.#row(rows, `day ${day}`, dayName(item.timeMs), () => separator(item.timeMs)));
        lead = null;
      }
      if (item === room.unreadFrom) {
        elements.push(this.#row(rows, UNREAD, "", unreadDivider));
        lead = null;
      }
      const isLead = !lead || !sameAuthor(lead, item) || item.timeMs - lead.timeMs > GROUP_MS;
      elements.push(this.#itemRow(rows, item, isLead, shared));
      if (isNotice) lead = null;
      else if (isLead) lead = item;
    }
    this.#rows = rows;
    return elements;
  }

  #itemRow(rows, item, isLead, shared) {
    if (item.kind === "notice") return this.#row(rows, item, "", () => notice(item));
    if (item.kind === "pending") {
      const look = `${isLead} ${item.status} ${item.problem}`;
      return this.#row(rows, item, look, () => this.#pending(item, isLead));
    }
    const isShared = shared.has(item.author.name);
    return this.#row(rows, item, `${isLead} ${isShared}`, () => this.#message(item, isLead, isShared));
  }

  #row(rows, key, look, make) {
    const known = this.#rows.get(key);
    const entry = known?.look === look ? known : { look, row: make() };
    rows.set(key, entry);
    return entry.row;
  }

  #message(item, isLead, isShared) {
    const row = element("li", {
      class: `message${isLead ? " lead" : ""}${item.own ? " own" : ""}`,
      "data-testid": "message",
      "data-offset": item.offset,
    });
    if (isLead) {
      const header = element("div", { class: "byline" }, nameOf(item.author, isShared));
      if (item.own) header.append(element("span", { class: "you" }, "you"));
      header.append(time(item.timeMs));
      row.append(avatar(item.author, isShared), header);
    } else {
      row.append(time(item.timeMs, "margin-time"));
    }
    row.append(...this.#body(item));
    return row;
  }

  #body(item) {
    const body = element("div", { class: "text", dir: "auto", "data-testid": "text" }, linkified(item.text));
    const lineCount = item.text.split("\n", FOLDED_LINES + 1).length;
    if (item.text.length <= FOLDED_CHARACTERS && lineCount <= FOLDED_LINES) return [body];
    const button = element("button", { class: "unfold", type: "button", "data-testid": "unfold" });
    const show = (isOpen) => {
      body.classList.toggle("folded", !isOpen);
      button.textContent = isOpen ? "Show less" : "Show all";
      button.setAttribute("aria-expanded", String(isOpen));
    };
    show(this.#unfolded.has(item));
    button.addEventListener("click", () => {
      if (this.#unfolded.has(item)) this.#unfolded.delete(item);
      else this.#unfolded.add(item);
      // What was unfolded is read from its top: stay there, not at the end.
      this.#room.isFollowed = false;
      show(this.#unfolded.has(item));
      this.#onScroll();
    });
    return [body, button];
  }

  #pending(item, isLead) {
    const row = element("li", {
      class: `message own pending${isLead ? " lead" : ""}`,
      "data-testid": "pending",
      "data-state": item.status,
    });
    if (isLead) {
      const self = this.self();
      const you = element("span", { class: "you" }, "you");
      const header = element("div", { class: "byline" }, nameOf(self, false), you, time(item.timeMs));
      row.append(avatar(self, false), header);
    }
    row.append(...this.#body(item));
    if (item.status === "failed") {
      const retry = element("button", { type: "button", class: "link" }, "Try again");
      retry.addEventListener("click", () => this.onRetry(this.#room, item));
      const discard = element("button", { type: "button", class: "link" }, "Discard");
      discard.addEventListener("click", () => this.onDiscard(this.#room, item));
      const words = `Not sent: ${item.problem}. `;
      row.append(element("div", { class: "outcome failed", role: "alert" }, words, retry, discard));
    } else {
      const words = item.status === "sending" ? "Sending…" : "Waiting for the connection";
      row.append(element("div", { class: "outcome" }, icon("clock"), words));
    }
    return row;
  }

  #onScroll() {
    if (!this.#room) return;
    this.#room.isFollowed = this.#isAtEnd;
    this.#markSeen();
    this.#updateJump();
  }

  #markSeen() {
    if (!this.#room?.isFollowed || document.hidden) return;
    this.onSeen(this.#room);
  }

  #updateJump() {
    const { isFollowed, unread } = this.#room;
    this.#jump.hidden = isFollowed;
    part("jump-label").textContent = unread > 0 ? counted(unread, "new message") : "Newest";
  }

  /** Shows where one stopped reading; when all that is new fits below, that is the end. */
  #toUnread() {
    const divider = this.#rows.get(UNREAD)?.row;
    this.#scroller.scrollTop = divider ? divider.offsetTop - UNREAD_TOP_PIXELS : this.#scroller.scrollHeight;
    this.#room.isFollowed = this.#isAtEnd;
  }

  #toEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  /** The first message in view and where it stands, to put it back there when others were added above. */
  #anchor() {
    const { scrollTop } = this.#scroller;
    for (const [key, { row }] of this.#rows) {
      // A day's line moves up when earlier messages of that day arrive.
      if (typeof key === "string") continue;
      if (row.isConnected && row.offsetTop + row.offsetHeight > scrollTop) return { key, top: row.offsetTop };
    }
    return null;
  }
}

function sameAuthor(a, b) {
  if (b.kind === "notice") return false;
  if (a.kind === "pending" || b.kind === "pending") return (a.own ?? true) && (b.own ?? true);
  return a.author.client === b.author.client && a.author.name === b.author.name;
}

function time(timeMs, className = "") {
  const iso = new Date(timeMs).toISOString();
  return element("time", { class: className, datetime: iso, title: fullTime(timeMs) }, clockTime(timeMs));
}

function separator(timeMs) {
  return element("li", { class: "day", "data-testid": "day" }, element("span", {}, dayName(timeMs)));
}

function unreadDivider() {
  return element("li", { class: "unread-divider", "data-testid": "unread-divider" }, element("span", {}, "New"));
}

function notice(item) {
  return element("li", { class: "notice", "data-testid": "notice" }, element("span", {}, item.text));
}
