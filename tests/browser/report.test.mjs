// The report of the lab, opened from a folder: asks nobody, fits a phone, follows the theme.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { madeUpResult } from "./result.mjs";
import { openBrowser } from "./visitor.mjs";

const LIMIT = { timeout: 60_000 };
let browser;
let folder;
let page;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "roomcast-report-"));
  writeFileSync(join(folder, "results.json"), JSON.stringify(madeUpResult()));
  execFileSync(process.env.ROOMCAST_BIN, ["lab", "report", folder]);
  const compared = join(folder, "compare.html");
  execFileSync(process.env.ROOMCAST_BIN, ["lab", "compare", folder, folder, "--html", compared]);
  browser = await openBrowser();
}, LIMIT);

after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Opens a page of the folder; returns it, what it complained of, and whom it asked beside itself. */
async function open(file, { width = 1280, colorScheme = "light" } = {}) {
  await page?.context().close();
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme });
  page = await context.newPage();
  const faults = [];
  const asked = [];
  page.on("console", (message) => faults.push(message.text()));
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("request", (request) => asked.push(request.url()));
  const url = pathToFileURL(join(folder, file)).href;
  await page.goto(url);
  return { page, faults, asked: asked.filter((other) => other !== url && !other.startsWith("data:")) };
}

const background = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);

for (const file of ["report.html", "compare.html"]) {
  test(`${file} asks nobody and does not complain`, LIMIT, async () => {
    const { page, faults, asked } = await open(file);
    assert.deepEqual(faults, []);
    assert.deepEqual(asked, []);
    assert.equal(await page.locator("script").count(), 0);
  });

  test(`${file} fits a phone`, LIMIT, async () => {
    const { page } = await open(file, { width: 375 });
    for (const summary of await page.locator("summary").all()) await summary.click();
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.equal(wide, 375, "the page scrolls sideways");
    const outside = await page.evaluate(() =>
      [...document.querySelectorAll("main *")]
        .filter((element) => !element.closest(".scroller, pre, svg") && element.getBoundingClientRect().right > 375.5)
        .map((element) => element.outerHTML.slice(0, 120)),
    );
    assert.deepEqual(outside, []);
  });

  test(`${file} follows the theme`, LIMIT, async () => {
    const light = await background((await open(file)).page);
    const dark = await background((await open(file, { colorScheme: "dark" })).page);
    assert.notEqual(light, dark);
  });
}

for (const file of ["report.html", "compare.html"]) {
  test(`verdicts of ${file} are seen on a phone without scrolling sideways`, LIMIT, async () => {
    const { page } = await open(file, { width: 375 });
    const verdicts = await page.evaluate(() =>
      [...document.querySelectorAll(".tag")].map((tag) => {
        const { left, right, width } = tag.getBoundingClientRect();
        return { text: tag.textContent, isSeen: left >= 0 && right <= innerWidth && width > 20 };
      }),
    );
    assert.ok(verdicts.length > 3, `${verdicts.length} verdicts`);
    assert.deepEqual(verdicts.filter(({ isSeen }) => !isSeen), []);
  });
}

test("from a section one comes back to the table, by keyboard too", LIMIT, async () => {
  const { page } = await open("report.html");
  const back = page.getByRole("link", { name: "At a glance" }).last();
  await back.focus();
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => Math.abs(document.getElementById("glance").getBoundingClientRect().top) < 40);
});

test("letters of charts are readable on a phone", LIMIT, async () => {
  const { page } = await open("report.html", { width: 375 });
  const heights = await page.evaluate(() =>
    [...document.querySelectorAll(".chart text")].map((text) => {
      const chart = text.ownerSVGElement;
      return (parseFloat(getComputedStyle(text).fontSize) * chart.getBoundingClientRect().width) / chart.viewBox.baseVal.width;
    }),
  );
  assert.ok(heights.length > 50, `${heights.length} texts`);
  assert.ok(Math.min(...heights) >= 9.5, `the smallest are ${Math.min(...heights)} px`);
});

test("charts are drawn, described and coloured", LIMIT, async () => {
  const { page } = await open("report.html");
  const charts = page.getByRole("img");
  assert.ok((await charts.count()) >= 20, `${await charts.count()} charts`);
  const first = page.locator(".chart .line").first();
  const stroke = await first.evaluate((line) => getComputedStyle(line).stroke);
  assert.match(stroke, /^rgb\((?!0, 0, 0\))/, "a line has no colour of its own");
  const name = await page.locator(".chart desc").first().textContent();
  assert.match(name, /from .+ to /, "a chart does not say what it shows");
});

test("labels of a chart do not lie on each other", LIMIT, async () => {
  const { page } = await open("report.html");
  const overlaps = await page.evaluate(() =>
    [...document.querySelectorAll("svg.chart")].flatMap((chart) => {
      const texts = [...chart.querySelectorAll("text")].map((text) => ({ text, box: text.getBoundingClientRect() }));
      const touch = (a, b) =>
        a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3;
      return texts.flatMap(({ text, box }, index) =>
        texts
          .slice(index + 1)
          .filter((other) => touch(box, other.box))
          .map((other) => `${text.textContent} on ${other.text.textContent}`),
      );
    }),
  );
  assert.deepEqual(overlaps, []);
});

test("on paper tables are whole and the paper is white", LIMIT, async () => {
  const { page } = await open("report.html", { colorScheme: "dark" });
  await page.emulateMedia({ media: "print", colorScheme: "dark" });
  assert.equal(await background(page), "rgb(255, 255, 255)");
  const ink = await page.evaluate(() => getComputedStyle(document.body).color);
  assert.equal(ink, "rgb(36, 34, 30)", "letters are light on white paper");
});
