// Tests that are written once and run on every way in which the SDK talks to the server.

import { after, before, describe, test } from "node:test";
import { Server } from "./server.mjs";
import { WAYS } from "./ways.mjs";

/**
 * Runs `tests` once for each way, or each of `ways`, on a server of its own with this configuration.
 *
 * `tests` is given the place: where people connect, which they are handed, with the `way` they do it and the `server`;
 * and a `test` that puts the way into the names. With `isWaiting`, for tests that wait more than they work, the ways are
 * taken at the same time. Without `dev` the server asks everybody for what its configuration says.
 */
export function onEveryWay(tests, { config = "", dev = true, ways = WAYS, isWaiting = false } = {}) {
  describe("on every way", { concurrency: isWaiting ? ways.length : 1 }, () => onWays(tests, { config, dev }, ways));
}

function onWays(tests, options, ways) {
  for (const way of ways) {
    // The tests of one way share its server, so they come one by one all the same.
    describe(way.name, { concurrency: 1 }, () => {
      const place = {
        way,
        server: undefined,
        get port() {
          return this.server.port;
        },
      };
      before(async () => (place.server = await Server.start(options)));
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
