// Waiting for something to become true: as long as it takes, up to a limit, and saying what did not happen.

const STEP_MS = 25;
const TIMEOUT_MS = 20_000;

/** Resolves with the first truthy result of `check`. `what` names it for the error: text, or a function that tells. */
export async function eventually(check, { what, timeoutMs = TIMEOUT_MS }) {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const result = await check();
    if (result) return result;
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs} ms in vain for ${typeof what === "function" ? await what() : what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, STEP_MS));
  }
}
