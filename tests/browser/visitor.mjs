// Somebody with a browser: opens the page, does what people do, and tells what is to be seen.

import { createRequire } from "node:module";
import { join } from "node:path";
import { eventually } from "./eventually.mjs";

const require = createRequire(join(process.env.ROOMCAST_BROWSER_TOOLS, "package.json"));
const { chromium } = require("playwright-core");

const STEP_TIMEOUT_MS = 15_000;
/** What Chromium itself reports when a test cuts the network; everything else on the console is a fault. */
const NETWORK_NOISE = /WebSocket connection to '[^']*' failed|net::ERR_/;

/** Headless Chromium; `more` are switches of its command line. */
export function openBrowser(more = []) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--no-first-run",
      ...more,
    ],
  });
}

export class Visitor {
  /** What went wrong in the page, less the noise of a cut network. */
  faults = [];
  #context;

  /** A new person with a new browser profile, in front of the welcome card. `prepare(page)` runs before it loads. */
  static async arrive(browser, url, { viewport = { width: 1200, height: 760 }, dark = false, prepare } = {}) {
    const visitor = new Visitor();
    const isPhone = viewport.width < 500;
    visitor.#context = await browser.newContext({
      viewport,
      colorScheme: dark ? "dark" : "light",
      hasTouch: isPhone,
      isMobile: isPhone,
      locale: "en-GB",
      timezoneId: "Europe/Berlin",
    });
    const page = await visitor.#context.newPage();
    page.setDefaultTimeout(STEP_TIMEOUT_MS);
    page.on("console", (message) => {
      const isFault = message.type() === "error" || message.type() === "warning";
      if (isFault && !NETWORK_NOISE.test(message.text())) visitor.faults.push(message.text());
    });
    page.on("pageerror", (error) => visitor.faults.push(String(error)));
    page.on("dialog", (dialog) => {
      visitor.faults.push(`a dialog opened: ${dialog.message()}`);
      dialog.dismiss().catch(() => {});
    });
    visitor.page = page;
    await prepare?.(page);
    await page.goto(url);
    return visitor;
  }

  /** Arrives, picks a name and enters the first of `rooms`, then joins the others; the first stays open. */
  static async enter(browser, url, name, rooms, options) {
    const visitor = await Visitor.arrive(browser, url, options);
    await visitor.part("name").fill(name);
    await visitor.part("first-room").fill(rooms[0]);
    await visitor.part("enter").click();
    await visitor.isJoined(rooms[0]);
    for (const room of rooms.slice(1)) await visitor.join(room);
    if (rooms.length > 1) await visitor.open(rooms[0]);
    return visitor;
  }

  part(name) {
    return this.page.getByTestId(name);
  }

  row(room) {
    return this.page.locator(`[data-testid="room-row"][data-room="${room}"]`);
  }

  async join(room) {
    await this.part("join").fill(room);
    await this.part("join").press("Enter");
    await this.isJoined(room);
  }

  async open(room) {
    await this.row(room).getByRole("button").click();
    await this.isJoined(room);
  }

  /** Waits until `room` is open and joined. */
  async isJoined(room) {
    await this.page.locator(`[data-testid="room"][data-room="${room}"][data-status="joined"]`).waitFor();
  }

  /** Types where the cursor is, as people do, and sends it. */
  async type(text) {
    await this.page.keyboard.type(text);
    await this.page.keyboard.press("Enter");
  }

  async write(text) {
    await this.part("input").fill(text);
    await this.part("input").press("Enter");
  }

  /** Waits for the text among the messages of the open room, and returns its row. */
  async sees(text) {
    const row = this.part("message").filter({ has: this.page.getByText(text, { exact: true }) });
    await row.first().waitFor();
    return row.first();
  }

  /** The messages of the open room from top to bottom, `{ offset, text }`. */
  messages() {
    return this.part("message").evaluateAll((rows) =>
      rows.map((row) => ({
        offset: Number(row.dataset.offset),
        text: row.querySelector('[data-testid="text"]').textContent,
      })),
    );
  }

  /** Waits until the open room shows `count` messages, and returns them. */
  async messagesOnce(count, timeoutMs) {
    let seen = [];
    await eventually(
      async () => {
        seen = await this.messages();
        return seen.length >= count;
      },
      { what: () => `${count} messages; there are ${seen.length}`, timeoutMs },
    );
    return seen;
  }

  /** Waits until nothing written in the open room is unsent any more. */
  async hasSentAll() {
    await eventually(async () => (await this.part("pending").count()) === 0, { what: "the last message to be sent" });
  }

  /** Names of who is here, sorted; waits until there are `count`. */
  async people(count) {
    const list = this.page.locator(`[data-testid="people"][data-count="${count}"]`);
    await list.waitFor({ state: "attached" });
    return (await this.part("person").locator(".name").allTextContents()).sort();
  }

  /** Waits until the page says that its connection is in one of `states`. */
  async connectionIs(...states) {
    const lamp = states.map((state) => `[data-testid="connection"][data-state="${state}"]`).join(", ");
    await this.page.locator(lamp).waitFor({ timeout: 30_000 });
  }

  /** Waits until the list of rooms says that `room` has `count` unread messages. */
  async hasUnread(room, count) {
    await this.page.locator(`[data-testid="room-row"][data-room="${room}"][data-unread="${count}"]`).waitFor();
  }

  async screenshot(name) {
    await this.page.screenshot({ path: join(process.env.ROOMCAST_BROWSER_OUT, `${name}.png`) });
  }

  async leave() {
    await this.#context.close();
  }
}
