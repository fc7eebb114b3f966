// The theme: "auto" follows the system. The server reads the cookie and writes it into
// the page, so the first paint is right; the admin reads its own key in the local storage.
(function () {
  "use strict";
  const root = document.documentElement;
  root.classList.add("scripted");

  function choose(theme) {
    root.dataset.theme = theme;
    document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=lax`;
    try { localStorage.setItem("theme", theme); } catch { /* Storage is blocked: the cookie is enough. */ }
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const input of document.querySelectorAll('input[name="theme"]')) {
      input.checked = input.value === (root.dataset.theme || "auto");
      input.addEventListener("change", () => choose(input.value));
    }
  });
})();
