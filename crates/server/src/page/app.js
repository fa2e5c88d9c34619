// The chat page: puts the chat and the parts of the page together.

import { roomsInAddress, showInAddress } from "./address.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { coalesced, part } from "./dom.js";
import { Drawers } from "./drawers.js";
import { bindKeys } from "./keys.js";
import { avatar, nameOf, PeopleView } from "./people.js";
import { RoomPane } from "./pane.js";
import { PENDING_MAX } from "./room.js";
import { RoomList } from "./rooms.js";
import { ROOMS_MAX, cleanName, cleanRoom, settings } from "./settings.js";
import { Status } from "./status.js";
import { Timeline } from "./timeline.js";

const SOCKET_PATH = "connection/websocket";

if (settings.name) enter(settings.name);
else welcome();

/** The first visit: a name and a room. */
function welcome() {
  const form = part("welcome-form");
  const [first] = roomsInAddress();
  if (first) part("first-room").value = first;
  part("welcome").hidden = false;
  part("name").focus();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = cleanName(part("name").value);
    const room = cleanRoom(part("first-room").value);
    const problem = part("welcome-problem");
    problem.hidden = Boolean(name && room);
    if (!name) problem.textContent = "Please pick a name that can be seen.";
    else if (!room) problem.textContent = "Please name the room with letters or digits.";
    else {
      settings.name = name;
      part("welcome").hidden = true;
      enter(name, room);
    }
  });
}

function enter(name, firstRoom) {
  const url = new URL(SOCKET_PATH, document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const chat = new Chat(url.href, name);
  const drawers = new Drawers();
  const people = new PeopleView();
  const pane = new RoomPane({
    onRetry: (room) => chat.retryJoin(room.name),
    onLeave: leave,
    onSuggestion: joinAndOpen,
  });
  const rooms = new RoomList({ onOpen: open, onJoin: joinAndOpen });
  const status = new Status({ onReconnect: () => chat.start(), announce });
  const timeline = new Timeline({
    self,
    onSeen: (room) => chat.markRead(room),
    onEarlier: (room) => chat.loadEarlier(room),
    onRetry: (room, unsent) => chat.retry(room, unsent),
    onDiscard: (room, unsent) => chat.discard(room, unsent),
  });
  const composer = new Composer({
    draftOf: (room) => chat.draft(room),
    onDraft: (room, text) => chat.setDraft(room, text),
    onSend: (text) => {
      const isTaken = chat.send(chat.active, text);
      if (isTaken) {
        render.now();
        timeline.follow();
      }
      return isTaken ? "" : `${PENDING_MAX} messages are waiting to be sent already.`;
    },
  });
  const render = coalesced(() => {
    const { active } = chat;
    rooms.update(chat.rooms, active);
    pane.update(active);
    timeline.update(active);
    people.update(active, chat.clientId);
    composer.update(active?.name ?? null, !active?.problem);
    const count = chat.unread > 0 ? `(${chat.unread}) ` : "";
    document.title = `${count}${active ? `#${active.name} · ` : ""}roomcast`;
  });

  chat.addEventListener("change", render);
  chat.addEventListener("connection", ({ detail }) => status.update(detail));
  chat.addEventListener("caughtup", ({ detail }) => status.caughtUp(detail.count));
  chat.addEventListener("message", ({ detail: { room, message } }) => {
    const isLookedAt = room === chat.active && timeline.isFollowing && !document.hidden;
    if (isLookedAt && !message.own) announce(`${message.author.name}: ${message.text}`);
    else if (!isLookedAt) room.markUnread(message);
  });
  document.addEventListener("visibilitychange", render);
  window.addEventListener("popstate", followAddress);
  window.addEventListener("hashchange", followAddress);
  part("leave").addEventListener("click", () => leave(chat.active));
  bindRename();
  bindKeys({
    step: (by) => {
      const all = chat.rooms;
      if (all.length > 0) open(all[(all.indexOf(chat.active) + by + all.length) % all.length]);
    },
    nextUnread: () => {
      const all = chat.rooms;
      const from = all.indexOf(chat.active) + 1;
      const next = [...all.slice(from), ...all.slice(0, from)].find((room) => room.unread > 0);
      if (next) open(next);
    },
    join: () => {
      drawers.open("rooms");
      part("join").focus();
    },
    write,
    escape: () => {
      if (drawers.close()) return;
      timeline.follow();
      write();
    },
    help: () => part("keys-dialog").showModal(),
  });
  part("help").addEventListener("click", () => part("keys-dialog").showModal());

  part("app").hidden = false;
  showSelf();
  const wanted = firstRoom ? [firstRoom, ...roomsInAddress()] : roomsInAddress();
  const known = [...wanted, ...settings.rooms];
  for (const room of known) chat.join(room);
  if (known.length > 0) chat.open(known[0]);
  addressChanged();
  chat.start();
  render.now();
  if (isPointed()) write();

  function self() {
    return { name: settings.name, client: chat.clientId, user: "" };
  }

  function open(room) {
    chat.open(room.name);
    addressChanged();
    drawers.close();
    if (isPointed()) write();
  }

  /** Puts the cursor where one writes. What is hidden cannot have it: first the page has to look as it is to. */
  function write() {
    render.now();
    composer.focus();
  }

  /** On a touch screen the keyboard would cover what one came to read. */
  function isPointed() {
    return matchMedia("(hover: hover)").matches;
  }

  /** Returns why it cannot be joined, or an empty string. */
  function joinAndOpen(typed) {
    const wantedRoom = cleanRoom(typed);
    if (!wantedRoom) return "Please use letters or digits.";
    const room = chat.join(wantedRoom);
    if (!room) return `You are in ${ROOMS_MAX} rooms already; leave one first.`;
    open(room);
    return "";
  }

  function leave(room) {
    if (!room) return;
    chat.leave(room.name);
    addressChanged();
  }

  function addressChanged() {
    showInAddress(chat.active?.name, chat.rooms.map((room) => room.name));
  }

  function followAddress() {
    const names = roomsInAddress();
    for (const room of names) chat.join(room);
    if (names[0]) chat.open(names[0]);
    addressChanged();
  }

  function bindRename() {
    const dialog = part("rename-dialog");
    const field = part("rename");
    part("self").addEventListener("click", () => {
      field.value = settings.name;
      dialog.showModal();
      field.select();
    });
    part("rename-cancel").addEventListener("click", () => dialog.close());
    part("rename-form").addEventListener("submit", () => {
      const chosen = cleanName(field.value);
      if (!chosen) return;
      settings.name = chosen;
      chat.rename(chosen);
      showSelf();
    });
  }

  function showSelf() {
    const button = part("self");
    button.replaceChildren(avatar(self(), false), nameOf(self(), false));
    button.setAttribute("aria-label", `You are ${settings.name}; change your name`);
  }
}

/** Speaks to screen readers, once they are done with what they say. */
function announce(words) {
  part("live").textContent = words;
}
