// The chat page as people meet it: two browsers, two rooms, the real server.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually } from "./eventually.mjs";
import { Server } from "./server.mjs";
import { Visitor, openBrowser } from "./visitor.mjs";

const TEST_TIMEOUT_MS = 60_000;
const LIMIT = { timeout: TEST_TIMEOUT_MS };

let server;
let browser;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), openBrowser()]);
});
after(async () => {
  await browser?.close();
  assert.equal(await server?.stop(), 0, "the server drains and ends well");
});

/** Runs `scene` with a way to bring visitors in; afterwards nobody's page may have complained. */
async function stage(scene) {
  const visitors = [];
  const bring = (visitor) => {
    visitors.push(visitor);
    return visitor;
  };
  const enter = async (name, rooms, options) => bring(await Visitor.enter(browser, server.url, name, rooms, options));
  const arrive = async (hash, options) => bring(await Visitor.arrive(browser, server.url + hash, options));
  try {
    await scene({ enter, arrive });
    for (const visitor of visitors) assert.deepEqual(visitor.faults, []);
  } finally {
    await Promise.all(visitors.map((visitor) => visitor.leave()));
  }
}

test("two people chat in two rooms", LIMIT, () =>
  stage(async ({ enter }) => {
    const rooms = ["tea", "coffee"];
    const ada = await enter("Ada", rooms);
    const grace = await enter("Grace", rooms);
    await ada.write("Is anybody here?");
    const line = await grace.sees("Is anybody here?");
    assert.equal(await line.locator(".name").textContent(), "Ada");
    const written = new Date(await line.locator("time").getAttribute("datetime"));
    assert.ok(Math.abs(Date.now() - written.getTime()) < TEST_TIMEOUT_MS, "it shows when it was written");
    await grace.write("I am.");
    await ada.sees("I am.");
    await ada.hasSentAll();

    await ada.open("coffee");
    await grace.open("coffee");
    await grace.write("And here.");
    await ada.sees("And here.");
    assert.deepEqual(
      (await ada.messages()).map(({ text }) => text),
      ["And here."],
      "what was written in one room stays in it",
    );
    await ada.open("tea");
    const texts = (await ada.messages()).map(({ text }) => text);
    assert.deepEqual(texts, ["Is anybody here?", "I am."]);
    await ada.screenshot("two-people");
  }));

test("who joins sees what was written before", LIMIT, () =>
  stage(async ({ enter }) => {
    const ada = await enter("Ada", ["archive"]);
    const written = Array.from({ length: 30 }, (_, index) => `Entry ${index + 1}`);
    for (const text of written) await ada.write(text);
    await ada.hasSentAll();
    const grace = await enter("Grace", ["archive"]);
    const seen = await grace.messagesOnce(written.length);
    assert.deepEqual(seen.map(({ text }) => text), written);
    assert.deepEqual(seen.map(({ offset }) => offset), written.map((_, index) => index + 1));
    await grace.screenshot("history");
  }));

test("older messages come on demand, and the page stays where one reads", LIMIT, () =>
  stage(async ({ enter }) => {
    const ada = await enter("Ada", ["annals"]);
    const written = Array.from({ length: 130 }, (_, index) => `Year ${index + 1}`);
    for (const text of written) await ada.write(text);
    await ada.hasSentAll();
    const grace = await enter("Grace", ["annals"]);
    const recent = await grace.messagesOnce(100);
    assert.equal(recent[0].text, "Year 31", "joining loads the newest hundred");
    await grace.part("timeline").evaluate((timeline) => timeline.scrollTo(0, 0));
    const top = () => grace.part("message").filter({ hasText: /Year 31$/ }).boundingBox();
    const { y: before } = await top();
    await grace.part("earlier").click();
    const all = await grace.messagesOnce(written.length);
    assert.deepEqual(all.map(({ text }) => text), written);
    const { y: now } = await top();
    assert.ok(Math.abs(now - before) < 80, `what one reads does not jump away: from ${before} to ${now}`);
    await grace.part("earlier").waitFor({ state: "hidden" });
    await ada.write("The present");
    await grace.part("jump-label").filter({ hasText: "1 new message" }).waitFor();
    await grace.part("jump").click();
    await grace.hasUnread("annals", 0);
  }));

test("a new name holds for what is written from then on", LIMIT, () =>
  stage(async ({ enter }) => {
    const ada = await enter("Ada", ["masks"]);
    const grace = await enter("Grace", ["masks"]);
    await ada.write("as Ada");
    await grace.sees("as Ada");
    await ada.part("self").click();
    await ada.part("rename").fill("Countess");
    await ada.part("rename").press("Enter");
    await ada.connectionIs("connected");
    await eventually(async () => (await grace.people(2)).includes("Countess"), { what: "the new name in the list" });
    await ada.write("as Countess");
    const names = [];
    for (const text of ["as Ada", "as Countess"]) {
      names.push(await (await grace.sees(text)).locator(".name").textContent());
    }
    assert.deepEqual(names, ["Ada", "Countess"]);
  }));

test("everybody sees who is here, and who left", LIMIT, () =>
  stage(async ({ enter }) => {
    const ada = await enter("Ada", ["porch"]);
    assert.deepEqual(await ada.people(1), ["Ada"]);
    const grace = await enter("Grace", ["porch"]);
    assert.deepEqual(await ada.people(2), ["Ada", "Grace"]);
    assert.deepEqual(await grace.people(2), ["Ada", "Grace"]);
    await grace.part("leave").click();
    assert.deepEqual(await ada.people(1), ["Ada"]);
    await grace.join("porch");
    await ada.people(2);
    await grace.leave();
    assert.deepEqual(await ada.people(1), ["Ada"]);
  }));

test("a room that is not looked at counts what is unread", LIMIT, () =>
  stage(async ({ enter }) => {
    const ada = await enter("Ada", ["front", "back"]);
    const grace = await enter("Grace", ["back"]);
    for (const text of ["one", "two", "three"]) await grace.write(text);
    await ada.hasUnread("back", 3);
    assert.equal(await ada.row("back").getByTestId("unread").textContent(), "3");
    assert.match(await ada.page.title(), /^\(3\) /);
    await ada.open("back");
    await ada.hasUnread("back", 0);
    assert.equal(await ada.part("unread-divider").count(), 1, "the reader sees where the new messages begin");
    assert.doesNotMatch(await ada.page.title(), /\(/);
  }));

test("two people of one name are told apart", LIMIT, () =>
  stage(async ({ enter }) => {
    const first = await enter("Sam", ["namesakes"]);
    assert.equal(await first.part("tag").count(), 0, "one holder of a name needs no tag");
    const second = await enter("Sam", ["namesakes"]);
    await first.people(2);
    await first.write("I am Sam.");
    await second.write("So am I.");
    for (const visitor of [first, second]) {
      const tags = [];
      for (const text of ["I am Sam.", "So am I."]) {
        const row = await visitor.sees(text);
        tags.push(await row.getByTestId("tag").textContent());
      }
      assert.notEqual(tags[0], tags[1]);
      const listed = await visitor.part("people").getByTestId("tag").allTextContents();
      assert.deepEqual(listed.sort(), tags.sort(), "the list of people uses the same tags");
    }
  }));

test("text from others stays text", LIMIT, () =>
  stage(async ({ enter }) => {
    const hostile = [
      '<img src=x onerror="alert(1)">',
      "<script>alert(2)</script>",
      "javascript:alert(3)",
      '"><svg onload=alert(4)>',
      '<a href="https://example.org/">a link of theirs</a>',
    ];
    const ada = await enter("<b>Ada</b>", ["quotes"]);
    const grace = await enter("Grace", ["quotes"]);
    for (const text of hostile) await ada.write(text);
    await ada.write("see https://example.org/page?a=1&b=2.");
    const seen = await grace.messagesOnce(hostile.length + 1);
    assert.deepEqual(seen.slice(0, -1).map(({ text }) => text), hostile);
    const made = await grace.part("messages").evaluate((list) => {
      const tags = ["img", "script", "b", "object", "iframe"];
      return tags.filter((tag) => list.querySelector(tag) || document.body.querySelector(`main ${tag}`));
    });
    assert.deepEqual(made, [], "no element was made from text");
    const links = await grace.part("messages").locator("a").evaluateAll((all) => all.map(({ href }) => href));
    assert.deepEqual(links, ["https://example.org/", "https://example.org/page?a=1&b=2"]);
    assert.deepEqual(await grace.people(2), ["<b>Ada</b>", "Grace"]);
  }));

test("a long message is folded, a too long one is not sent", LIMIT, () =>
  stage(async ({ enter }) => {
    const ada = await enter("Ada", ["letters"]);
    const grace = await enter("Grace", ["letters"]);
    const long = Array.from({ length: 60 }, (_, index) => `Line ${index} of a long letter.`).join("\n");
    await ada.write(long);
    const [{ text }] = await grace.messagesOnce(1);
    assert.equal(text, long, "nothing of it is lost");
    const body = grace.part("text");
    const folded = await body.evaluate(({ clientHeight, scrollHeight }) => clientHeight < scrollHeight);
    assert.ok(folded, "it does not fill the page");
    await grace.part("unfold").click();
    const open = await body.evaluate(({ clientHeight, scrollHeight }) => clientHeight >= scrollHeight);
    assert.ok(open, "it opens on demand");

    await ada.part("input").fill("x".repeat(4_003));
    assert.equal(await ada.part("counter").textContent(), "3 characters too many");
    assert.ok(await ada.part("send").isDisabled());
    await ada.part("input").press("Enter");
    await ada.part("input").fill("y".repeat(4_000));
    await ada.part("input").press("Enter");
    const [, second] = await grace.messagesOnce(2);
    assert.equal(second.text, "y".repeat(4_000), "the limit itself is allowed, and the longer one was never sent");
  }));

test("drafts wait in their rooms, and shortcuts go there", LIMIT, () =>
  stage(async ({ enter }) => {
    const ada = await enter("Ada", ["desk", "shelf"]);
    const { keyboard } = ada.page;
    await ada.part("input").fill("half a thought");
    await keyboard.press("Alt+ArrowDown");
    await ada.isJoined("shelf");
    assert.equal(await ada.part("input").inputValue(), "");
    await keyboard.press("Alt+ArrowUp");
    await ada.isJoined("desk");
    assert.equal(await ada.part("input").inputValue(), "half a thought");
    await ada.page.reload();
    await ada.isJoined("desk");
    assert.equal(await ada.part("input").inputValue(), "half a thought", "a draft survives a reload");
    assert.equal(new URL(ada.page.url()).hash, "#desk/shelf");
    await keyboard.press("Control+k");
    const focused = await ada.page.evaluate(() => document.activeElement.dataset.testid);
    assert.equal(focused, "join");
  }));

test("one may type at once, after entering, reloading, opening a room and joining one", LIMIT, () =>
  stage(async ({ arrive }) => {
    const ada = await arrive("");
    const { keyboard } = ada.page;
    // Nothing is clicked: the cursor is where one writes next.
    await keyboard.type("Ada");
    await ada.part("first-room").fill("keys");
    await keyboard.press("Enter");
    await ada.isJoined("keys");
    await ada.type("entered");
    await ada.sees("entered");
    await ada.page.reload();
    await ada.isJoined("keys");
    await ada.type("reloaded");
    await ada.sees("reloaded");
    await keyboard.press("Control+k");
    await ada.type("locks");
    await ada.isJoined("locks");
    await ada.type("joined");
    await ada.sees("joined");
    await keyboard.press("Alt+ArrowUp");
    await ada.isJoined("keys");
    await ada.type("opened");
    await ada.sees("opened");
    assert.deepEqual((await ada.messages()).map(({ text }) => text), ["entered", "reloaded", "opened"]);
  }));

test("an empty room welcomes, a full one explains", LIMIT, () =>
  stage(async ({ enter }) => {
    // No option limits a room yet: the refusal is put in on the way, all else is the server's.
    const refuse = (page) =>
      page.routeWebSocket(/connection\/websocket/, (socket) => {
        const upstream = socket.connectToServer();
        socket.onMessage((frame) => {
          const passed = frame.split("\n").filter((line) => {
            const { id, subscribe } = JSON.parse(line);
            if (subscribe?.channel !== "theatre") return true;
            socket.send(JSON.stringify({ id, error: { code: 106, message: "limit exceeded" } }));
            return false;
          });
          if (passed.length > 0) upstream.send(passed.join("\n"));
        });
      });
    const ada = await enter("Ada", ["meadow"], { prepare: refuse });
    await ada.part("fresh").waitFor();
    await ada.screenshot("empty-room");
    await ada.part("join").fill("theatre");
    await ada.part("join").press("Enter");
    await ada.part("blocked").waitFor();
    assert.match(await ada.part("blocked-title").textContent(), /full/);
    assert.ok(await ada.part("composer").isHidden(), "there is nothing to write into");
    await ada.screenshot("full-room");
    await ada.part("blocked-leave").click();
    await ada.isJoined("meadow");
    await ada.part("leave").click();
    await ada.part("no-room").waitFor();
    await ada.screenshot("no-room");
  }));

test("the page fits a phone and follows the dark", LIMIT, () =>
  stage(async ({ enter, arrive }) => {
    const phone = { viewport: { width: 375, height: 700 }, dark: true };
    const ada = await enter("Ada", ["pocket"]);
    await ada.write(`A-word-without-any-space-${"abc".repeat(80)}`);
    await ada.write("https://example.org/".concat("path/".repeat(40)));
    await ada.hasSentAll();
    const card = await arrive("#pocket", phone);
    await fits(card);
    await card.screenshot("phone-welcome");
    const grace = await enter("Grace with a name that does not end when one would expect it to", ["pocket"], phone);
    await grace.messagesOnce(2);
    await fits(grace);
    await grace.write("From a phone.");
    await ada.sees("From a phone.");
    await grace.screenshot("phone");
    await grace.part("menu").click();
    await grace.row("pocket").getByRole("button").click({ trial: true });
    await fits(grace);
    await grace.part("rooms-close").click();
    await grace.part("people-toggle").click();
    assert.equal((await grace.people(2)).length, 2);
    await grace.screenshot("phone-people");
    const background = await grace.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const [red] = background.match(/\d+/).map(Number);
    assert.ok(red < 64, `dark when the system is: ${background}`);
  }));

async function fits(visitor) {
  const { scrollWidth, innerWidth } = await visitor.page.evaluate(() => ({
    scrollWidth: document.documentElement.scrollWidth,
    innerWidth,
  }));
  assert.ok(scrollWidth <= innerWidth, `no sideways scrolling: ${scrollWidth} in ${innerWidth} pixels`);
  const wide = await visitor.page.evaluate(() => {
    const scroller = document.querySelector('[data-testid="timeline"]');
    return scroller.scrollWidth > scroller.clientWidth;
  });
  assert.ok(!wide, "nor within the messages");
}

test("the page needs nothing from elsewhere and allows no inline code", LIMIT, async () => {
  const response = await fetch(server.url);
  assert.equal(response.status, 200);
  const policy = response.headers.get("content-security-policy") ?? "";
  assert.match(policy, /default-src 'self'/);
  assert.doesNotMatch(policy, /unsafe-/);
  const html = await response.text();
  const addresses = [...html.matchAll(/(?:src|href)="([^"#][^"]*)"/g)].map(([, address]) => address);
  assert.ok(addresses.length >= 3);
  for (const address of addresses) {
    assert.equal(new URL(address, server.url).origin, new URL(server.url).origin);
    await eventually(async () => (await fetch(new URL(address, server.url))).status === 200, { what: address });
  }
});
