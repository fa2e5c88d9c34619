// How a person looks: avatar, name, and the tag that tells two of one name apart. And the list of who is here.

import { arrange, element, part } from "./dom.js";
import { counted, hueClass, initials, shortTag } from "./text.js";

/** Rows of the list; beyond, a number says it better. */
const ROWS_MAX = 200;

/** What makes somebody the same person: the account if there is one, else the connection. */
function identity({ user, client }) {
  return user || client;
}

export function avatar(person, isShared) {
  const key = isShared ? identity(person) : person.name;
  return element("span", { class: `avatar ${hueClass(key)}`, "aria-hidden": "true" }, initials(person.name));
}

/** The name, with a tag when others go by it too. */
export function nameOf(person, isShared) {
  const name = element("bdi", { class: "name", title: person.name }, person.name);
  if (!isShared) return name;
  const key = identity(person);
  const tag = element("span", {
    class: `tag ${hueClass(key)}`,
    "data-testid": "tag",
    title: "Somebody else here has the same name; this tag tells you apart.",
  });
  tag.append(shortTag(key));
  return element("span", { class: "named" }, name, tag);
}

export class PeopleView {
  #panel = part("people");
  #list = part("people-list");
  #count = part("people-count");
  #rows = new Map();

  /** Shows who is in `room`; `ownClient` is marked. */
  update(room, ownClient) {
    const people = room ? [...room.people.values()] : [];
    const shared = room ? room.sharedNames() : new Set();
    people.sort((a, b) => a.name.localeCompare(b.name) || a.client.localeCompare(b.client));
    const rows = new Map();
    for (const person of people.slice(0, ROWS_MAX)) {
      const isShared = shared.has(person.name);
      const isOwn = person.client === ownClient;
      const key = `${person.client} ${isShared} ${isOwn} ${person.name}`;
      rows.set(key, this.#rows.get(key) ?? row(person, isShared, isOwn));
    }
    this.#rows = rows;
    this.#panel.hidden = !room || room.problem !== null;
    const rest = people.length - rows.size;
    const more = rest > 0 ? [element("li", { class: "quiet more" }, `and ${rest.toLocaleString()} more`)] : [];
    arrange(this.#list, [...rows.values(), ...more]);
    this.#count.textContent = String(people.length);
    this.#panel.dataset.count = String(people.length);
    part("here-count").textContent = people.length === 0 ? "" : people.length.toLocaleString();
    const words = `${counted(people.length, "person").replace("persons", "people")} here`;
    part("people-toggle").setAttribute("aria-label", `Who is here: ${words}`);
  }
}

function row(person, isShared, isOwn) {
  return element(
    "li",
    { "data-testid": "person", "data-client": person.client },
    avatar(person, isShared),
    nameOf(person, isShared),
    isOwn ? element("span", { class: "you" }, "you") : null,
  );
}
