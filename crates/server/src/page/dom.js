// Making elements. Strings become text nodes, never markup.

/** How long a hidden page, which draws no frames, may lag behind. */
const HIDDEN_DELAY_MS = 200;

/** `element("p", { class: "quiet", title: "…" }, "text", child)`; attributes that are null or false are left out. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A drawing of `index.html`'s sheet. */
export function icon(name) {
  const SVG = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** The element a test or a script knows by its `data-testid`. */
export function part(name, root = document) {
  return root.querySelector(`[data-testid="${name}"]`);
}

/** Makes `parent` hold exactly `children`, touching only what differs. */
export function arrange(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.children]) {
    if (!wanted.has(child)) child.remove();
  }
  let next = parent.firstElementChild;
  for (const child of children) {
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
}

/**
 * Runs `work` once, soon, however often it is asked for: with the next frame, or without one in a hidden page. The
 * returned function has a method `now` for who cannot wait.
 */
export function coalesced(work) {
  let frame = 0;
  let timer = 0;
  const now = () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
    timer = 0;
    work();
  };
  const soon = () => {
    if (timer !== 0) return;
    frame = requestAnimationFrame(now);
    timer = setTimeout(now, HIDDEN_DELAY_MS);
  };
  soon.now = now;
  return soon;
}
