// Text of other people, made ready to look at. Nothing here makes HTML: what comes in as text goes out as text nodes,
// and the one element that is made, a link, takes only http and https addresses.

/** Hues of avatars and tags; `style.css` has a class for each. */
const HUES = 12;
/** Longer texts from foreign clients are cut before they reach the page; ours send at most a fifth of that. */
const SHOWN_CHARACTERS_MAX = 20_000;

const ADDRESS = /\bhttps?:\/\/[^\s<>"']+/gi;

/** What to show of a publication's `data`: our `{text}`, or whatever another program published. */
export function messageText(data) {
  let text;
  if (typeof data === "string") text = data;
  else if (typeof data?.text === "string") text = data.text;
  // What was erased since keeps its place.
  else if (data === null) text = "This message was erased.";
  else text = JSON.stringify(data) ?? "";
  return text.length > SHOWN_CHARACTERS_MAX ? `${text.slice(0, SHOWN_CHARACTERS_MAX)}…` : text;
}

/** `text` as nodes, web addresses as links. */
export function linkified(text) {
  const fragment = document.createDocumentFragment();
  let end = 0;
  for (const match of text.matchAll(ADDRESS)) {
    const address = withoutTrailingPunctuation(match[0]);
    const url = parsedUrl(address);
    if (!url) continue;
    fragment.append(text.slice(end, match.index));
    const link = document.createElement("a");
    link.href = url.href;
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    link.textContent = address;
    fragment.append(link);
    end = match.index + address.length;
  }
  fragment.append(text.slice(end));
  return fragment;
}

/** One or two letters that stand for a name. */
export function initials(name) {
  const words = name.split(/[\s._-]+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : [words[0] ?? "?"];
  return letters.map((word) => firstCharacter(word).toLocaleUpperCase()).join("");
}

/** The CSS class of a stable colour for `key`. */
export function hueClass(key) {
  const value = hash(key);
  // The low bits alone clump.
  return `hue-${((value ^ (value >>> 16)) >>> 0) % HUES}`;
}

/** Four characters that tell two holders of one name apart. */
export function shortTag(key) {
  return hash(key).toString(36).padStart(4, "0").slice(-4);
}

/** Characters as people count them, near enough: code points. */
export function characterCount(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

export function clockTime(timeMs) {
  return clock.format(timeMs);
}

export function fullTime(timeMs) {
  return full.format(timeMs);
}

/** A key that is equal for two times of one local day. */
export function dayKey(timeMs) {
  return new Date(timeMs).toDateString();
}

/** "Today", "Yesterday" or a date. */
export function dayName(timeMs) {
  const day = dayKey(timeMs);
  const yesterday = new Date();
  yesterday.setDate(yesterday.getDate() - 1);
  if (day === new Date().toDateString()) return "Today";
  if (day === yesterday.toDateString()) return "Yesterday";
  return date.format(timeMs);
}

/** "1 message", "2 messages". */
export function counted(count, noun) {
  return `${count.toLocaleString()} ${noun}${count === 1 ? "" : "s"}`;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const date = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });

function withoutTrailingPunctuation(address) {
  const trimmed = address.replace(/[.,;:!?…]+$/u, "");
  // "(see https://example.org)" ends before the bracket, ".../a_(b)" after it.
  const unbalanced = trimmed.endsWith(")") && !trimmed.includes("(");
  return unbalanced ? trimmed.slice(0, -1) : trimmed;
}

function parsedUrl(address) {
  try {
    const url = new URL(address);
    return url.protocol === "http:" || url.protocol === "https:" ? url : null;
  } catch {
    return null;
  }
}

function firstCharacter(word) {
  return String.fromCodePoint(word.codePointAt(0));
}

/** FNV-1a over UTF-16 units: stable across pages and visits. */
function hash(text) {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  }
  return value >>> 0;
}
