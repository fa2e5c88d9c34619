// What docs/your-website.md prints, by its headings.

import { readFileSync } from "node:fs";

const page = readFileSync(new URL("../../docs/your-website.md", import.meta.url), "utf8");

/** The block of this language that comes first after `heading` and holds `word`. */
export function printed(language, heading, word = "") {
  const from = page.indexOf(`\n## ${heading}\n`);
  if (from < 0) throw new Error(`the page has no heading "${heading}"`);
  for (const [, name, code] of page.slice(from).matchAll(/\n```(\w+)\n(.*?)\n```/gs)) {
    if (name === language && code.includes(word)) return `${code}\n`;
  }
  throw new Error(`the page prints no ${language} after "${heading}"`);
}

/** The text with each of these in the place of what is printed; each must be there. */
export function replaced(text, changes) {
  for (const [from, to] of Object.entries(changes)) {
    if (!text.includes(from)) throw new Error(`the page does not print ${from}`);
    text = text.replaceAll(from, to);
  }
  return text;
}
