// The side panels. On a wide page the rooms are always there and the people can be folded away; on a narrow one both
// slide over the room, one at a time.

import { part } from "./dom.js";
import { settings } from "./settings.js";

export class Drawers {
  #app = part("app");
  #narrow = matchMedia("(max-width: 760px)");
  #medium = matchMedia("(max-width: 1040px)");
  #opener = null;

  constructor() {
    part("menu").addEventListener("click", () => this.open("rooms"));
    part("people-toggle").addEventListener("click", () => this.#togglePeople());
    for (const name of ["scrim", "rooms-close", "people-close"]) {
      part(name).addEventListener("click", () => this.close());
    }
    this.#medium.addEventListener("change", () => this.#refresh());
    this.#narrow.addEventListener("change", () => this.close());
    this.#refresh();
  }

  /** Slides `rooms` or `people` over the page where it is not shown anyway. */
  open(name) {
    if (!this.#slides(name)) return;
    this.#opener = document.activeElement;
    this.#app.dataset.drawer = name;
    this.#refresh();
    part(name === "rooms" ? "rooms-close" : "people-close").focus();
  }

  /** Returns true if there was something to close. */
  close() {
    if (!this.#app.dataset.drawer) return false;
    delete this.#app.dataset.drawer;
    this.#refresh();
    this.#opener?.focus();
    return true;
  }

  #togglePeople() {
    if (!this.#slides("people")) {
      settings.peopleShown = !settings.peopleShown;
      this.#refresh();
    } else if (!this.close()) {
      this.open("people");
    }
  }

  #slides(name) {
    return name === "rooms" ? this.#narrow.matches : this.#medium.matches;
  }

  #refresh() {
    const { drawer } = this.#app.dataset;
    const isPeopleShown = this.#slides("people") ? drawer === "people" : settings.peopleShown;
    const isRoomsShown = !this.#slides("rooms") || drawer === "rooms";
    this.#app.dataset.people = isPeopleShown ? "shown" : "hidden";
    part("people-toggle").setAttribute("aria-expanded", String(isPeopleShown));
    part("menu").setAttribute("aria-expanded", String(drawer === "rooms"));
    // What is out of sight is out of the tab order.
    part("people").inert = !isPeopleShown;
    part("sidebar").inert = !isRoomsShown;
    part("room").inert = Boolean(drawer);
  }
}
