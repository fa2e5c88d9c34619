// The field one writes in: grows with the text, counts near the limit, keeps a draft for every room.

import { part } from "./dom.js";
import { characterCount, counted } from "./text.js";

/** Well under the server's 64 KiB for a whole command, whatever the characters are. */
export const TEXT_CHARACTERS_MAX = 4_000;
/** The counter shows up this close to the limit. */
const COUNTER_FROM = TEXT_CHARACTERS_MAX - 500;

export class Composer {
  #form = part("composer");
  #field = part("input");
  #button = part("send");
  #counter = part("counter");
  #room = null;

  /** `onSend(text)` returns why it was refused, or an empty string; `onDraft(room, text)` keeps what is unsent. */
  constructor({ onSend, onDraft, draftOf }) {
    this.onDraft = onDraft;
    this.draftOf = draftOf;
    this.#field.addEventListener("input", () => {
      if (this.#room) this.onDraft(this.#room, this.#field.value);
      this.#refresh();
    });
    this.#field.addEventListener("keydown", (event) => {
      // Enter ends the composition of a word first, where words are composed.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#form.requestSubmit();
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.#field.value.trim();
      if (text === "" || this.#excess(text) > 0) return;
      const refusal = onSend(text);
      if (refusal) {
        this.#say(refusal);
        return;
      }
      this.#field.value = "";
      this.onDraft(this.#room, "");
      this.#refresh();
      this.#field.focus();
    });
  }

  /** Writes for `room` (a name) from now on; null when there is nowhere to write to. */
  update(room, isWritable) {
    this.#form.hidden = !room || !isWritable;
    if (room !== this.#room) {
      this.#room = room;
      this.#field.value = room ? this.draftOf(room) : "";
      this.#field.placeholder = room ? `Message #${room}` : "";
      this.#field.setAttribute("aria-label", room ? `Message to ${room}` : "Message");
      this.#refresh();
    }
  }

  focus() {
    this.#field.focus();
  }

  #refresh() {
    this.#field.style.height = "auto";
    this.#field.style.height = `${this.#field.scrollHeight}px`;
    const text = this.#field.value.trim();
    const excess = this.#excess(text);
    const count = text.length > COUNTER_FROM ? characterCount(text) : 0;
    this.#button.disabled = text === "" || excess > 0;
    this.#field.setAttribute("aria-invalid", String(excess > 0));
    if (excess > 0) this.#say(`${counted(excess, "character")} too many`);
    else if (count > COUNTER_FROM) this.#say(`${counted(TEXT_CHARACTERS_MAX - count, "character")} left`);
    else this.#say("");
  }

  #excess(text) {
    return text.length <= TEXT_CHARACTERS_MAX ? 0 : Math.max(0, characterCount(text) - TEXT_CHARACTERS_MAX);
  }

  #say(words) {
    this.#counter.textContent = words;
    this.#counter.hidden = words === "";
  }
}
