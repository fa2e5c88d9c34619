// Tests that are written once and run on every way in which the SDK talks to the server.

import { after, before, describe, test } from "node:test";
import { Server } from "./server.mjs";
import { WAYS } from "./ways.mjs";

/**
 * Runs `tests` once for each way, or each of `ways`, on a server of its own with this configuration.
 *
 * `tests` is given the place: where people connect, which they are handed, with the `way` they do it and the `server`;
 * and a `test` that puts the way into the names.
 */
export function onEveryWay(tests, { config = "", ways = WAYS } = {}) {
  for (const way of ways) {
    describe(way.name, () => {
      const place = {
        way,
        server: undefined,
        get port() {
          return this.server.port;
        },
      };
      before(async () => (place.server = await Server.start({ config })));
      after(() => place.server.stop());
      tests(place, namedFor(way));
    });
  }
}

/** The same for tests that start servers themselves. */
export function onEveryWayAlone(tests) {
  for (const way of WAYS) describe(way.name, () => tests(way, namedFor(way)));
}

function namedFor(way) {
  return (name, body) => test(`${name} [${way.name}]`, body);
}
