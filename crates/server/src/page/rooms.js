// The list of joined rooms with what is unread in each, and the field to join another.

import { arrange, element, part } from "./dom.js";
import { counted } from "./text.js";

/** A badge says no more than this. */
const BADGE_MAX = 99;

export class RoomList {
  #list = part("rooms");
  #rows = new Map();

  /** `onOpen(room)`; `onJoin(typed)` returns why it was refused, or an empty string. */
  constructor({ onOpen, onJoin }) {
    this.onOpen = onOpen;
    const field = part("join");
    const problem = part("join-problem");
    const say = (words) => {
      problem.textContent = words;
      problem.hidden = words === "";
    };
    field.addEventListener("input", () => say(""));
    part("join-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (field.value.trim() === "") return;
      const refusal = onJoin(field.value);
      say(refusal);
      if (refusal === "") field.value = "";
    });
  }

  update(rooms, active) {
    const kept = new Map();
    for (const room of rooms) kept.set(room, this.#rows.get(room) ?? this.#make(room));
    this.#rows = kept;
    arrange(this.#list, [...kept.values()]);
    for (const [room, row] of kept) show(row, room, room === active);
    part("menu-dot").hidden = rooms.every((room) => room === active || room.unread === 0);
  }

  #make(room) {
    const row = element(
      "li",
      { "data-testid": "room-row", "data-room": room.name },
      element(
        "button",
        { type: "button" },
        element("span", { class: "hash", "aria-hidden": "true" }, "#"),
        element("span", { class: "room-label", title: room.name }, room.name),
        element("span", { class: "badge", "data-testid": "unread", "aria-hidden": "true" }),
      ),
    );
    row.firstElementChild.addEventListener("click", () => this.onOpen(room));
    return row;
  }
}

function show(row, room, isActive) {
  const button = row.firstElementChild;
  const badge = button.lastElementChild;
  row.dataset.unread = String(room.unread);
  row.dataset.status = room.status;
  badge.hidden = room.unread === 0;
  badge.textContent = room.unread > BADGE_MAX ? `${BADGE_MAX}+` : String(room.unread);
  if (isActive) button.setAttribute("aria-current", "page");
  else button.removeAttribute("aria-current");
  const news = room.unread > 0 ? `, ${counted(room.unread, "new message")}` : "";
  button.setAttribute("aria-label", `${room.name}${news}`);
}
