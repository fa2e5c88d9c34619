// What the page says about its connection: a lamp beside the name, and a banner when something is wrong.

import { part } from "./dom.js";
import { counted } from "./text.js";

/** How long good news stays. */
const GOOD_NEWS_MS = 5_000;

export class Status {
  #lamp = part("connection");
  #banner = part("banner");
  #text = part("banner-text");
  #button = part("reconnect");
  #announce;
  #detail = { state: "connecting" };
  #ticker = 0;
  #hideTimer = 0;
  #caughtUp = 0;
  #wasLost = false;

  /** `announce(words)` speaks to screen readers. */
  constructor({ onReconnect, announce }) {
    this.#announce = announce;
    this.#button.addEventListener("click", onReconnect);
  }

  /** Takes the client's `state` events. */
  update(detail) {
    const before = this.#detail.state;
    this.#detail = detail;
    clearInterval(this.#ticker);
    clearTimeout(this.#hideTimer);
    if (detail.state === "waiting" || detail.state === "offline") {
      this.#wasLost = true;
      this.#ticker = setInterval(() => this.#show(), 1_000);
    }
    this.#show();
    if (before !== detail.state && detail.state !== "connecting") this.#announce(lampWords(detail.state));
    if (detail.state === "connected" && this.#wasLost) {
      this.#wasLost = false;
      this.#caughtUp = 0;
      this.#goodNews("Back online.");
    }
  }

  /** A room has brought `count` messages that were written meanwhile. */
  caughtUp(count) {
    if (this.#detail.state !== "connected") return;
    this.#caughtUp += count;
    this.#banner.dataset.caughtUp = String(this.#caughtUp);
    this.#goodNews(`Back online. Caught up on ${counted(this.#caughtUp, "message")}.`);
  }

  #show() {
    const { state } = this.#detail;
    part("app").dataset.connection = state;
    this.#lamp.dataset.state = state;
    this.#lamp.textContent = lampWords(state);
    this.#banner.dataset.state = state;
    const words = this.#words();
    this.#text.textContent = words;
    this.#button.hidden = state === "connecting";
    this.#button.textContent = state === "closed" ? "Connect again" : "Try now";
    this.#banner.hidden = words === "";
  }

  #words() {
    const { state, reason, retryAtMs } = this.#detail;
    const seconds = Math.max(0, Math.ceil(((retryAtMs ?? 0) - Date.now()) / 1000));
    switch (state) {
      case "connected":
        return "";
      case "connecting":
        // A first attempt needs no banner; one after a loss says that it is under way.
        return this.#wasLost ? "Reconnecting…" : "";
      case "offline":
        return `You are offline. Trying again in ${seconds} s; what you write is kept.`;
      case "closed":
        return `The server ended the connection: ${reason}.`;
      default:
        return `Connection lost. Reconnecting in ${seconds} s; what you write is kept.`;
    }
  }

  #goodNews(words) {
    clearTimeout(this.#hideTimer);
    this.#banner.dataset.state = "restored";
    this.#text.textContent = words;
    this.#button.hidden = true;
    this.#banner.hidden = false;
    this.#hideTimer = setTimeout(() => this.#show(), GOOD_NEWS_MS);
  }
}

function lampWords(state) {
  switch (state) {
    case "connected":
      return "Connected";
    case "connecting":
      return "Connecting";
    case "offline":
      return "Offline";
    case "closed":
      return "Disconnected";
    default:
      return "Reconnecting";
  }
}
