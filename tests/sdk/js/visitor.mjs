// Someone at the SDK in a process of their own, which a test may kill or put to sleep. Run as a program, it enters a
// room and tells on its output what happens to it, an object a line.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Person } from "./people.mjs";
import { until } from "./until.mjs";
import { WAYS } from "./ways.mjs";

const PROGRAM = fileURLToPath(import.meta.url);

export class Visitor {
  /** `{ id, recovered }` each time the visitor is in the room, again or at first. */
  entered = [];
  /** The data of each publication. */
  heard = [];
  #process;

  /** Someone in the room; `t` is the test, at whose end they are gone. */
  static async start(t, { way, port }, room) {
    const visitor = new Visitor();
    const child = (visitor.#process = spawn(process.execPath, [PROGRAM, way.name, port, room], {
      stdio: ["ignore", "pipe", "inherit"],
    }));
    t.after(() => child.kill("SIGKILL"));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const { entered, heard } = JSON.parse(line);
      if (entered) visitor.entered.push(entered);
      else visitor.heard.push(heard);
    });
    await until(() => visitor.entered.length === 1, "the visitor to enter");
    return visitor;
  }

  kill(signal) {
    this.#process.kill(signal);
  }
}

function visit(wayName, port, room) {
  const tell = (object) => process.stdout.write(`${JSON.stringify(object)}\n`);
  const way = WAYS.find(({ name }) => name === wayName);
  const person = new Person({ way, port }, "visitor");
  const member = person.member(room);
  const { subscription } = member;
  subscription.on("subscribed", ({ recovered }) => tell({ entered: { id: person.id, recovered } }));
  subscription.on("publication", () => tell({ heard: member.data.at(-1) }));
  subscription.subscribe();
  person.client.connect();
}

if (process.argv[1] === PROGRAM) visit(...process.argv.slice(2));
