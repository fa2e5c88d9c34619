// What docs/your-website.md and docs/server.md print, by their headings.

import { readFileSync } from "node:fs";

const read = (name) => readFileSync(new URL(`../../docs/${name}`, import.meta.url), "utf8");
const pages = { website: read("your-website.md"), server: read("server.md") };

/** The block of this language that comes first after `heading` and holds `word`. */
export function printed(language, heading, word = "", page = pages.website) {
  const from = page.indexOf(`\n## ${heading}\n`);
  if (from < 0) throw new Error(`the page has no heading "${heading}"`);
  for (const [, name, code] of page.slice(from).matchAll(/\n```(\w+)\n(.*?)\n```/gs)) {
    if (name === language && code.includes(word)) return `${code}\n`;
  }
  throw new Error(`the page prints no ${language} after "${heading}"`);
}

/** The same of docs/server.md. */
export function printedOfServer(language, heading, word = "") {
  return printed(language, heading, word, pages.server);
}

/** The text with each of these in the place of what is printed; each must be there. */
export function replaced(text, changes) {
  for (const [from, to] of Object.entries(changes)) {
    if (!text.includes(from)) throw new Error(`the page does not print ${from}`);
    text = text.replaceAll(from, to);
  }
  return text;
}
