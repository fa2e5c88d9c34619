// The rooms in the page's address: `#open/other/another`. The first is the one that is looked at.

import { ROOMS_MAX, cleanRoom } from "./settings.js";

/** The rooms the address names, the open one first. */
export function roomsInAddress() {
  const names = location.hash.slice(1).split("/").map(decoded).map(cleanRoom).filter(Boolean);
  return [...new Set(names)].slice(0, ROOMS_MAX);
}

/** Puts the rooms into the address; opening another one is a step that "back" undoes. */
export function showInAddress(open, names) {
  const others = names.filter((name) => name !== open);
  const hash = `#${[open, ...others].filter(Boolean).map(encodeURIComponent).join("/")}`;
  if (hash === location.hash || (hash === "#" && location.hash === "")) return;
  if (open && roomsInAddress()[0] && roomsInAddress()[0] !== open) history.pushState(null, "", hash);
  else history.replaceState(null, "", hash);
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return "";
  }
}
