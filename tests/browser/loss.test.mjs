// A page whose connection is cut, in the ways connections are: the server notices, the page says so, and afterwards
// nothing of what was written meanwhile is missing, doubled or out of place.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Proxy } from "./proxy.mjs";
import { Server } from "./server.mjs";
import { Visitor, openBrowser } from "./visitor.mjs";

const LIMIT = { timeout: 120_000 };
/** Written in each of two rooms while the page is away: 120 in all. */
const MISSED_PER_ROOM = 60;
/** More than the server replays on its own (300); the page has to page through the history. */
const MISSED_FOR_LONG = 420;

let server;
let browser;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), openBrowser()]);
});
after(async () => {
  await browser?.close();
  assert.equal(await server?.stop(), 0, "the server drains and ends well");
});

/** Ada behind a proxy and Grace beside her, both in `rooms`. */
async function stage(rooms, scene) {
  const proxy = await Proxy.start(server.port);
  const visitors = [];
  try {
    const ada = await Visitor.enter(browser, proxy.url, "Ada", rooms);
    visitors.push(ada);
    const grace = await Visitor.enter(browser, server.url, "Grace", rooms);
    visitors.push(grace);
    await grace.people(2);
    await scene({ proxy, ada, grace });
    for (const visitor of visitors) assert.deepEqual(visitor.faults, []);
  } finally {
    await Promise.all(visitors.map((visitor) => visitor.leave()));
    await proxy.stop();
  }
}

const CUTS = [
  { mode: "reset", isSilent: false },
  { mode: "stall", isSilent: true },
  { mode: "half-open", isSilent: true },
];

for (const { mode, isSilent } of CUTS) {
  test(`a page cut off by a ${mode} connection misses nothing`, LIMIT, () => {
    const rooms = [`north-${mode}`, `south-${mode}`];
    return stage(rooms, async ({ proxy, ada, grace }) => {
      await ada.write("before the cut");
      await grace.sees("before the cut");
      const noPongBefore = await server.metric("roomcast_closes_total", 'code="3012"');

      proxy.cut(mode);
      await grace.people(1);
      if (isSilent) {
        const noPong = await server.metric("roomcast_closes_total", 'code="3012"');
        assert.ok(noPong > noPongBefore, "the server closed the silent connection for want of a pong");
      }
      await ada.connectionIs("waiting", "offline");
      await ada.part("banner").waitFor();
      await ada.screenshot(`cut-${mode}`);
      await ada.write("written while cut off");
      assert.equal(await ada.part("pending").count(), 1, "her own message waits");

      const written = {};
      for (const room of rooms) {
        await grace.open(room);
        written[room] = Array.from({ length: MISSED_PER_ROOM }, (_, index) => `${room} ${index + 1}`);
        for (const text of written[room]) await grace.write(text);
        await grace.hasSentAll();
      }
      assert.notEqual(await ada.part("connection").getAttribute("data-state"), "connected");

      proxy.restore();
      await ada.connectionIs("connected");
      const missed = rooms.length * MISSED_PER_ROOM;
      await ada.page.locator(`[data-testid="banner"][data-caught-up="${missed}"]`).waitFor({ state: "attached" });
      await grace.people(2);
      await ada.hasSentAll();
      await ada.hasUnread(rooms[1], MISSED_PER_ROOM);

      const north = await ada.messagesOnce(MISSED_PER_ROOM + 2);
      assertInOrder(north, ["before the cut", ...written[rooms[0]], "written while cut off"]);
      await ada.open(rooms[1]);
      assertInOrder(await ada.messagesOnce(MISSED_PER_ROOM), written[rooms[1]]);
      assert.equal(await ada.part("notice").count(), 0, "nothing was lost, nothing is said to be");
      await ada.screenshot(`recovered-${mode}`);
      await grace.open(rooms[0]);
      await grace.sees("written while cut off");
    });
  });
}

test("a page away for longer than the server replays pages through the history", LIMIT, () =>
  stage(["marathon"], async ({ proxy, ada, grace }) => {
    await ada.write("before the cut");
    await grace.sees("before the cut");
    proxy.cut("reset");
    await grace.people(1);
    await ada.connectionIs("waiting", "offline");
    const written = Array.from({ length: MISSED_FOR_LONG }, (_, index) => `step ${index + 1}`);
    await publishAll(grace, "marathon", written);
    await grace.sees(written.at(-1));

    proxy.restore();
    await ada.connectionIs("connected");
    assertInOrder(await ada.messagesOnce(MISSED_FOR_LONG + 1), ["before the cut", ...written]);
  }));

test("a page keeps working over many short cuts while others write without a pause", LIMIT, () =>
  stage(["storm"], async ({ proxy, ada, grace }) => {
    const CUT_COUNT = 6;
    const texts = [];
    for (let cut = 0; cut < CUT_COUNT; cut += 1) {
      const batch = Array.from({ length: 50 }, (_, index) => `gust ${cut}.${index}`);
      texts.push(...batch);
      const writing = publishAll(grace, "storm", batch);
      proxy.cut("reset");
      await ada.connectionIs("waiting", "offline", "connecting");
      proxy.restore();
      await Promise.all([writing, ada.connectionIs("connected")]);
    }
    assertInOrder(await ada.messagesOnce(texts.length), texts);
    assertInOrder(await grace.messagesOnce(texts.length), texts);
  }));

test("a page says so when the room was started afresh, and goes on", LIMIT, () =>
  stage(["harbour"], async ({ proxy, ada, grace }) => {
    const successor = await Server.start();
    let late;
    try {
      await grace.write("in the room's first life");
      await ada.sees("in the room's first life");
      // What a restart without storage looks like to a page: the same address, other rooms behind it.
      proxy.redirect(successor.port);
      await ada.part("notice").waitFor();
      assert.match(await ada.part("notice").textContent(), /started afresh/);
      late = await Visitor.enter(browser, successor.url, "Late", ["harbour"]);
      await late.write("in its second");
      await ada.sees("in its second");
      assert.deepEqual(
        (await ada.messages()).map(({ text }) => text),
        ["in the room's first life", "in its second"],
        "what was read before stays to be read",
      );
      assert.deepEqual(late.faults, []);
    } finally {
      await late?.leave();
      assert.equal(await successor.stop(), 0);
    }
  }));

test("after a restart the page shows what was written before, and goes on", LIMIT, async () => {
  const first = await Server.start();
  const ada = await Visitor.enter(browser, first.url, "Ada", ["archive"]);
  for (const text of ["yesterday", "last night"]) {
    await ada.write(text);
    await ada.sees(text);
  }
  await ada.hasSentAll();
  await ada.leave();
  assert.equal(await first.stop({ keep: true }), 0);
  const second = await Server.start({ before: first });
  const grace = await Visitor.enter(browser, second.url, "Grace", ["archive"]);
  try {
    await grace.sees("yesterday");
    await grace.write("today");
    await grace.sees("today");
    assertInOrder(await grace.messagesOnce(3), ["yesterday", "last night", "today"]);
    assert.deepEqual([...ada.faults, ...grace.faults], []);
  } finally {
    await grace.leave();
    assert.equal(await second.stop(), 0);
  }
});

test("after a crash a page shows each message once, though the room has another epoch", LIMIT, async () => {
  const first = await Server.start();
  const proxy = await Proxy.start(first.port);
  const ada = await Visitor.enter(browser, proxy.url, "Ada", ["wreck"]);
  let second;
  try {
    const written = Array.from({ length: 12 }, (_, index) => `plank ${index + 1}`);
    for (const text of written) await ada.write(text);
    await ada.hasSentAll();
    await first.kill();
    second = await Server.start({ before: first });
    proxy.redirect(second.port);
    await ada.part("notice").waitFor();
    assert.match(await ada.part("notice").textContent(), /started afresh/, "the epoch is another");
    await ada.connectionIs("connected");
    // The last ones may not have been stored yet; what was is read once more, and shown where it was.
    await ada.write("ashore");
    await ada.sees("ashore");
    await ada.hasSentAll();
    assert.deepEqual((await ada.messages()).map(({ text }) => text), [...written, "ashore"]);
    const late = await Visitor.enter(browser, second.url, "Late", ["wreck"]);
    const kept = (await late.messagesOnce(2)).map(({ text }) => text);
    assert.deepEqual(kept, [...written.slice(0, kept.length - 1), "ashore"], "the room was kept");
    await late.leave();
    await ada.page.reload();
    await ada.isJoined("wreck");
    assert.deepEqual((await ada.messagesOnce(kept.length)).map(({ text }) => text), kept);
    assert.deepEqual(ada.faults, []);
  } finally {
    await ada.leave();
    await proxy.stop();
    await second?.stop();
  }
});

/** Publishes from `visitor`'s page over a connection of its own, many in one frame. */
function publishAll(visitor, room, texts) {
  return visitor.page.evaluate(
    ([channel, lines]) =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(`ws://${location.host}/connection/websocket`);
        const command = (text, index) => JSON.stringify({ id: index + 2, publish: { channel, data: { text } } });
        const commands = lines.map(command);
        let answered = 0;
        // A frame holds a bounded number of commands: the next ones follow when these are answered.
        const BATCH = 10;
        const send = () => socket.send(commands.splice(0, BATCH).join("\n"));
        socket.onopen = () => socket.send(JSON.stringify({ id: 1, connect: { data: { name: "Grace" } } }));
        socket.onerror = () => reject(new Error("the publishing connection failed"));
        socket.onmessage = ({ data }) => {
          for (const line of data.split("\n")) {
            const reply = JSON.parse(line);
            if (reply.error) reject(new Error(JSON.stringify(reply.error)));
            if (!reply.id) {
              socket.send("{}");
            } else if (reply.id === 1) {
              send();
            } else {
              answered += 1;
              if (answered === lines.length) {
                socket.close();
                resolve();
              } else if (answered % BATCH === 0) {
                send();
              }
            }
          }
        };
      }),
    [room, texts],
  );
}

/** Exactly these texts, in this order, at consecutive offsets. */
function assertInOrder(messages, texts) {
  assert.deepEqual(messages.map(({ text }) => text), texts);
  const [first] = messages;
  assert.deepEqual(
    messages.map(({ offset }) => offset),
    messages.map((_, index) => first.offset + index),
  );
}
