// The middle of the page when it is not a timeline: no room, an empty one, one that does not let us in.

import { part } from "./dom.js";

const LIMIT_EXCEEDED = 106;

export class RoomPane {
  #room = null;

  constructor({ onRetry, onLeave, onSuggestion }) {
    part("blocked-retry").addEventListener("click", () => onRetry(this.#room));
    part("blocked-leave").addEventListener("click", () => onLeave(this.#room));
    part("suggestions").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) onSuggestion(button.value);
    });
  }

  update(room) {
    this.#room = room;
    const isBlocked = Boolean(room?.problem);
    const isEmpty = Boolean(room) && room.items.length === 0 && room.pending.length === 0;
    const isLoading = isEmpty && (room.status !== "joined" || room.backlog !== null);
    part("room").dataset.status = room?.status ?? "none";
    part("room").dataset.room = room?.name ?? "";
    part("room-name").textContent = room?.name ?? "";
    part("room-name").parentElement.hidden = !room;
    part("room-tools").hidden = !room;
    part("no-room").hidden = Boolean(room);
    part("blocked").hidden = !isBlocked;
    part("timeline-frame").hidden = !room || isBlocked;
    part("fresh").hidden = !isEmpty || isLoading;
    part("loading").hidden = !isLoading;
    if (room) part("fresh-title").textContent = `Welcome to #${room.name}`;
    if (isBlocked) {
      const [title, text] = blockedWords(room);
      part("blocked-title").textContent = title;
      part("blocked-text").textContent = text;
    }
  }
}

function blockedWords({ name, status, problem }) {
  if (status === "removed") {
    const reason = problem.message ? ` The server says: ${problem.message}.` : "";
    return [`You are no longer in #${name}`, `You were taken out of this room.${reason}`];
  }
  if (problem.code === LIMIT_EXCEEDED) {
    const text = "There is no place left at the moment. Places come free as people leave; your draft is kept.";
    return [`#${name} is full`, text];
  }
  return [`#${name} is not open to you`, `The server does not let you in: ${problem.message}.`];
}
