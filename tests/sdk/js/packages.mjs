// What was installed by setup.sh, which writes nothing into this tree.

import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.env.ROOMCAST_SDK_TOOLS, "package.json"));

/** The SDK by encoding. */
export const SDK = {
  json: require("centrifuge").Centrifuge,
  protobuf: require("centrifuge/build/protobuf").Centrifuge,
};
export const { EventSource } = require("eventsource");
export const { WebSocket } = require("ws");
/** What an application throws where nobody is to be let in, by encoding. */
export const UNAUTHORIZED = {
  json: require("centrifuge").UnauthorizedError,
  protobuf: require("centrifuge/build/protobuf").UnauthorizedError,
};
