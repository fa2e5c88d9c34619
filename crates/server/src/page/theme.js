// Light or dark as the system says until the reader decides. A plain script, run before the first paint.
{
  const KEY = "roomcast.theme";
  const root = document.documentElement;
  const stored = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const theme = stored() ?? (dark.matches ? "dark" : "light");
    root.dataset.theme = theme;
    for (const button of document.querySelectorAll('[data-testid="theme"]')) {
      button.setAttribute("aria-pressed", String(theme === "dark"));
    }
  };
  apply();
  dark.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    for (const button of document.querySelectorAll('[data-testid="theme"]')) {
      button.addEventListener("click", () => {
        try {
          localStorage.setItem(KEY, root.dataset.theme === "dark" ? "light" : "dark");
        } catch {
          // Nowhere to keep the choice: it holds for this visit.
          root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
          return;
        }
        apply();
      });
    }
  });
}
