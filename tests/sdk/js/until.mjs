// Waiting for something to become true: as long as it takes, up to a limit, and saying what did not happen.

const STEP_MS = 5;
/** How long anything may take before a test gives up. */
export const PATIENCE_MS = 60_000;

/** Resolves with the first truthy result of `check`. `what` names it for the error: text, or a function that tells. */
export async function until(check, what) {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const result = await check();
    if (result) return result;
    if (performance.now() > deadline) {
      throw new Error(`waited ${PATIENCE_MS} ms in vain for ${typeof what === "function" ? what() : what}`);
    }
    await sleep(STEP_MS);
  }
}

export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
