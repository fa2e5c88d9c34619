// What the page remembers between visits. A browser that refuses storage gets a page that forgets, not one that fails.

import { characterCount } from "./text.js";

/** As the server bounds it. */
export const NAME_CHARACTERS_MAX = 64;
/** Far below the protocol's 255 bytes: room names are read in a narrow column. */
export const ROOM_CHARACTERS_MAX = 48;
/** One page's rooms; the server allows a client 128. */
export const ROOMS_MAX = 32;
/** Own connection ids kept to recognise one's messages after a reload. */
const OWN_CLIENTS_MAX = 200;

const PREFIX = "roomcast.";

export const settings = {
  get name() {
    return cleanName(read("name", ""));
  },
  set name(name) {
    write("name", name);
  },
  get rooms() {
    return strings(read("rooms", [])).map(cleanRoom).filter(Boolean).slice(0, ROOMS_MAX);
  },
  set rooms(rooms) {
    write("rooms", rooms);
  },
  get drafts() {
    const drafts = read("drafts", {});
    return new Map(Object.entries(drafts ?? {}).filter(([, text]) => typeof text === "string"));
  },
  set drafts(drafts) {
    write("drafts", Object.fromEntries(drafts));
  },
  get ownClients() {
    return strings(read("clients", []));
  },
  set ownClients(clients) {
    write("clients", clients.slice(-OWN_CLIENTS_MAX));
  },
  get peopleShown() {
    return read("people", true) === true;
  },
  set peopleShown(shown) {
    write("people", shown);
  },
};

/** A name fit to be shown: one line, single spaces, bounded. */
export function cleanName(name) {
  const line = String(name).replace(/[\p{C}\s]+/gu, " ").trim();
  return characterCount(line) > NAME_CHARACTERS_MAX ? [...line].slice(0, NAME_CHARACTERS_MAX).join("").trim() : line;
}

/** A room name from what somebody typed, empty when nothing usable is left. */
export function cleanRoom(name) {
  const dashed = String(name).trim().replace(/^#+/, "").replace(/\s+/gu, "-");
  const usable = dashed.replace(/[^\p{L}\p{N}._:-]/gu, "");
  return [...usable].slice(0, ROOM_CHARACTERS_MAX).join("").toLocaleLowerCase();
}

function strings(value) {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

function read(key, fallback) {
  try {
    const text = localStorage.getItem(PREFIX + key);
    return text === null ? fallback : JSON.parse(text);
  } catch {
    return fallback;
  }
}

function write(key, value) {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // Storage is full or forbidden; the visit goes on without it.
  }
}
