// docs/your-website.md, from a copied page to production; and the proxies of docs/server.md.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";
import { eventually } from "../browser/eventually.mjs";
import { openBrowser } from "../browser/visitor.mjs";
import { EventSource, SDK, WebSocket } from "../sdk/js/packages.mjs";
import { printed, printedOfServer, replaced } from "./printed.mjs";
import { API_KEY, TOKEN_SECRET, folder, freePort, listening, roomcast, run, site } from "./programs.mjs";

process.env.TOKEN_SECRET = TOKEN_SECRET;
process.env.API_KEY = API_KEY;

/** Says why a part is not run, where a program is not there. */
function without(t, ...programs) {
  for (const program of programs) {
    try {
      execFileSync("sh", ["-c", `command -v ${program}`]);
    } catch {
      console.log(`not run: ${t.name}: there is no ${program}`);
      return true;
    }
  }
  return false;
}

function production(changes = {}) {
  const config = printed("toml", "The server in production");
  return replaced(config, { "TOKEN-SECRET": TOKEN_SECRET, "API-KEY": API_KEY, "rooms.example.com": "127.0.0.1", ...changes });
}

async function connectionToken() {
  const file = join(folder(), "token.mjs");
  writeFileSync(file, printed("js", "Who your users are"));
  return (await import(pathToFileURL(file))).connectionToken;
}

async function browser(t) {
  const chromium = await openBrowser();
  t.after(() => chromium.close());
  return async (url) => {
    const page = await (await chromium.newContext()).newPage();
    page.faults = [];
    page.on("pageerror", (error) => page.faults.push(String(error)));
    await page.goto(url);
    page.shown = () => page.locator("#messages li").allTextContents();
    page.shows = (text) => eventually(async () => (await page.shown()).includes(text), { what: () => `"${text}"; ${page.faults}` });
    return page;
  };
}

test("a page without a bundler", async (t) => {
  const { port } = await roomcast(t, ["--dev"]);
  const here = { "127.0.0.1:8000": `127.0.0.1:${port}` };
  const url = await site(t, { html: replaced(printed("html", "A page without a bundler"), here) });
  const open = await browser(t);
  const [one, other] = [await open(url), await open(url)];
  await one.locator("input[name=text]").fill("<b>hello</b>");
  await one.locator("button").click();
  for (const page of [one, other]) {
    await page.shows("Ann: <b>hello</b>");
    assert.deepEqual(page.faults, []);
  }
  const list = replaced(printed("js", "A page without a bundler", "http_stream"), {
    "ws://127.0.0.1:8000": `ws://127.0.0.1:${await freePort()}`,
    ...here,
  });
  const way = await one.evaluate(async (code) => {
    const client = new Function("Centrifuge", `${code}; return client;`)(globalThis.Centrifuge);
    return new Promise((resolve) => client.on("connected", ({ transport }) => resolve(transport)).connect());
  }, list);
  assert.equal(way, "http_stream", "WebSocket did not get through");
});

test("a page of another origin, with tokens, in production", async (t) => {
  const token = await connectionToken();
  const page = {};
  const url = await site(t, page, () => token("42", "Ann"));
  const { port } = await roomcast(t, [], production({ "https://www.example.com": url }));
  page.html = replaced(printed("html", "Who your users are"), { "wss://rooms.example.com": `ws://127.0.0.1:${port}` });
  const open = await browser(t);
  const visitor = await open(url);
  await eventually(() => visitor.evaluate(() => room.state === "subscribed"), { what: "the room" });
  const publish = replaced(printed("sh", "What your backend says"), { "127.0.0.1:8000": `127.0.0.1:${port}` });
  assert.match(await run("sh", ["-c", publish]), /"offset":1/);
  await visitor.shows("the site: hello from the site");
  await visitor.evaluate(() => room.publish({ text: "hello from Ann" }));
  await visitor.shows("Ann: hello from Ann");

  const strange = await open(await site(t, page, () => token("42", "Ann")));
  await strange.evaluate(() => new Promise((resolve) => client.on("error", resolve)));
  assert.equal((await fetch(`http://127.0.0.1:${port}/connection/http_stream`, {
    method: "POST",
    headers: { Origin: new URL(strange.url()).origin },
    body: "{}",
  })).status, 403);
  assert.equal(await strange.evaluate(() => client.state), "connecting", "a page of another site");
  assert.deepEqual(await strange.shown(), []);
});

const LANGUAGES = {
  python: (code) => ["python3", ["-c", `${code}\nprint(connection_token("42", "Ann"))`]],
  js: (code, where) => {
    writeFileSync(join(where, "token.mjs"), `${code}\nconsole.log(connectionToken("42", "Ann"));`);
    return ["node", [join(where, "token.mjs")]];
  },
  go: (code, where) => {
    writeFileSync(join(where, "token.go"), code);
    const main = 'package main\n\nfunc main() {\n\ttoken, err := connectionToken("42", "Ann")\n\tif err != nil {\n\t\tpanic(err)\n\t}\n\tprintln(token)\n}\n';
    writeFileSync(join(where, "main.go"), main.replace("println(token)", "os.Stdout.WriteString(token)").replace("main\n", 'main\n\nimport "os"\n'));
    return ["go", ["run", "token.go", "main.go"]];
  },
};

for (const [language, make] of Object.entries(LANGUAGES)) {
  test(`a token of a backend in ${language}`, async (t) => {
    if (without(t, language === "go" ? "go" : language === "js" ? "node" : "python3")) return;
    const where = folder();
    const [command, args] = make(printed(language, "Who your users are"), where);
    const token = await run(command, args, { cwd: where, env: { ...process.env, GO111MODULE: "off" } });
    const { port, config } = await roomcast(t, [], production());
    assert.match(await run(process.env.ROOMCAST_BIN, ["checktoken", token, "--config", config]), /42/);
    const client = new SDK.json(`ws://127.0.0.1:${port}/connection/websocket`, { websocket: WebSocket, token });
    t.after(() => client.disconnect());
    const room = client.newSubscription("lobby");
    room.subscribe();
    client.connect();
    await room.ready(20_000);
    const heard = new Promise((resolve) => room.on("publication", resolve));
    await room.publish("hello");
    const { info } = await heard;
    assert.deepEqual([info.user, info.connInfo], ["42", { name: "Ann" }]);
  });
}

/** Holds that clients come through a proxy by every transport, and that nothing that is inside does. */
async function comesThrough(t, port, inside = ["/api/info", "/metrics", "/", "/health"]) {
  const token = (await connectionToken())("42", "Ann");
  const url = `https://127.0.0.1:${port}`;
  for (const transport of ["websocket", "http_stream", "sse"]) {
    const endpoint = `${transport === "websocket" ? url.replace("https", "wss") : url}/connection/${transport}`;
    const ways = { websocket: WebSocket, eventsource: EventSource, fetch, emulationEndpoint: `${url}/emulation` };
    const client = new SDK.json([{ transport, endpoint }], { ...ways, token });
    t.after(() => client.disconnect());
    const room = client.newSubscription(`lobby-${transport}`);
    const heard = new Promise((resolve) => room.on("publication", ({ data }) => resolve(data)));
    room.subscribe();
    client.connect();
    await room.ready(20_000);
    await room.publish({ through: transport });
    assert.deepEqual(await heard, { through: transport });
  }
  for (const path of inside) {
    assert.equal((await fetch(url + path)).status, 404, path);
  }
}

test("behind nginx", async (t) => {
  if (without(t, "nginx", "openssl")) return;
  const { port: inside } = await roomcast(t, [], production());
  const [port, where] = [await freePort(), folder()];
  const names = ["-subj", "/CN=rooms.example.com", "-keyout", "key.pem", "-out", "cert.pem"];
  await run("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", ...names], { cwd: where });
  const server = replaced(printed("nginx", "Behind nginx"), {
    "listen 443 ssl": `listen 127.0.0.1:${port} ssl`,
    "/etc/ssl/rooms.example.com.pem": join(where, "cert.pem"),
    "/etc/ssl/rooms.example.com.key": join(where, "key.pem"),
    "127.0.0.1:8000": `127.0.0.1:${inside}`,
  });
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${where}/${name};`);
  writeFileSync(join(where, "nginx.conf"), `daemon off; pid ${where}/pid; error_log stderr; events {}
    http { access_log off; ${paths.join(" ")} ${server} }`);
  await listening(t, port, "nginx", ["-p", where, "-c", join(where, "nginx.conf"), "-e", "stderr"]);
  await comesThrough(t, port);
});

test("behind Caddy", async (t) => {
  if (without(t, "caddy")) return;
  const { port: inside } = await roomcast(t, [], production());
  const [port, where] = [await freePort(), folder()];
  const block = replaced(printed("caddy", "Behind Caddy"), {
    "rooms.example.com {": `https://127.0.0.1:${port} {\n\ttls internal\n\tbind 127.0.0.1`,
    "127.0.0.1:8000": `127.0.0.1:${inside}`,
  });
  const all = `{\n\tadmin off\n\tdefault_sni 127.0.0.1\n\tskip_install_trust\n\tauto_https disable_redirects\n}\n${block}`;
  writeFileSync(join(where, "Caddyfile"), all);
  const env = { ...process.env, HOME: where, XDG_DATA_HOME: where, XDG_CONFIG_HOME: where };
  await listening(t, port, "caddy", ["run", "--config", join(where, "Caddyfile"), "--adapter", "caddyfile"], { env });
  await comesThrough(t, port);
});

/** Holds that the server knows where a client comes from, by what it says of one that it turns away. */
async function knowsWhoComes(url, log) {
  const headers = { Origin: "https://elsewhere.example" };
  const asked = request(`${url}/connection/sse?cf_connect=%7B%7D`, { localAddress: "127.0.0.2", headers }).end();
  const [response] = await once(asked, "response");
  response.resume();
  assert.equal(response.statusCode, 403);
  const line = () => log().split("\n").find((line) => line.includes("not let in")) ?? "";
  await eventually(() => line().includes("127.0.0.2"), { what: log });
}

/** A certificate of this test's own, for 127.0.0.1. */
async function certificate(where) {
  const names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"];
  await run("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", ...names], { cwd: where });
}

/** What the configuration of docs/server.md that holds `word` is here, beside that of production. */
function behind(word, changes) {
  const options = replaced(printedOfServer("toml", "Behind a proxy", word), { "[http_server]\n": "", ...changes });
  return production({ "port = 8000\n": options });
}

test("behind HAProxy, by PROXY headers", async (t) => {
  if (without(t, "haproxy", "openssl")) return;
  const [where, port, inside] = [folder(), await freePort(), await freePort()];
  await certificate(where);
  const pem = (name) => `"${join(where, name)}"`;
  const config = behind("proxy_protocol = true\ntls", {
    "port = 8443\n": "",
    "internal_port = 9000": `internal_port = ${inside}`,
    '"cert.pem"': pem("cert.pem"),
    '"key.pem"': pem("key.pem"),
  });
  const server = await roomcast(t, [], config);
  const block = replaced(printedOfServer("haproxy", "Behind a proxy"), {
    "bind :443": `bind 127.0.0.1:${port}`,
    "127.0.0.1:8443": `127.0.0.1:${server.port}`,
    "check port 9000": `check inter 200ms port ${inside}`,
  });
  writeFileSync(join(where, "haproxy.cfg"), block);
  await listening(t, port, "haproxy", ["-db", "-f", join(where, "haproxy.cfg")]);
  await comesThrough(t, port, ["/api/info", "/metrics", "/health"]);
  await knowsWhoComes(`https://127.0.0.1:${port}`, server.said);
  // Who comes without a header is nobody's client.
  await assert.rejects(fetch(`https://127.0.0.1:${server.port}/`));
});

test("behind Caddy, which says who comes", async (t) => {
  if (without(t, "caddy")) return;
  const [where, port, inside] = [folder(), await freePort(), await freePort()];
  const config = behind('[http_server]\ninternal_port', {
    "internal_port = 9000": `internal_port = ${inside}`,
  });
  const server = await roomcast(t, [], config);
  const block = replaced(printedOfServer("caddy", "Behind a proxy"), {
    "chat.example {": `https://127.0.0.1:${port} {\n\ttls internal\n\tbind 127.0.0.1`,
    "127.0.0.1:8000": `127.0.0.1:${server.port}`,
  });
  const all = `{\n\tadmin off\n\tdefault_sni 127.0.0.1\n\tskip_install_trust\n\tauto_https disable_redirects\n}\n${block}`;
  writeFileSync(join(where, "Caddyfile"), all);
  const env = { ...process.env, HOME: where, XDG_DATA_HOME: where, XDG_CONFIG_HOME: where };
  await listening(t, port, "caddy", ["run", "--config", join(where, "Caddyfile"), "--adapter", "caddyfile"], { env });
  await comesThrough(t, port, ["/api/info", "/metrics", "/health"]);
  await knowsWhoComes(`https://127.0.0.1:${port}`, server.said);
});
