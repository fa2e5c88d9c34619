// Keyboard shortcuts. Plain characters count only where nothing is being typed.

export function bindKeys({ step, nextUnread, join, write, escape, help }) {
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || document.querySelector("dialog[open]")) return;
    const action = actionOf(event, { step, nextUnread, join, write, escape, help });
    if (!action) return;
    event.preventDefault();
    action();
  });
}

function actionOf(event, { step, nextUnread, join, write, escape, help }) {
  const { key, altKey, shiftKey } = event;
  const command = event.ctrlKey || event.metaKey;
  if (altKey && !command && key === "ArrowUp") return () => step(-1);
  if (altKey && !command && key === "ArrowDown") return shiftKey ? nextUnread : () => step(1);
  if (command && !altKey && !shiftKey && key.toLowerCase() === "k") return join;
  if (altKey || command) return null;
  if (key === "Escape") return escape;
  if (event.target.closest("input, textarea")) return null;
  if (key === "/") return write;
  if (key === "?") return help;
  return null;
}
