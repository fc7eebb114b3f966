// Every page: '/' focuses the search, Escape and a click elsewhere close the menu, rows open.
const menu = document.querySelector("details.menu");
const search = document.querySelector("#search");

function typing(target) {
  return target.closest("input, textarea, select, [contenteditable]") !== null;
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && menu?.open) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  if (event.key === "/" && plain && search && !typing(event.target)) {
    event.preventDefault();
    search.focus();
    search.select();
  }
});
document.addEventListener("click", (event) => {
  if (menu?.open && !menu.contains(event.target)) menu.open = false;
});

// A click anywhere in a row opens what the row is about, unless it marks text to copy.
document.addEventListener("click", (event) => {
  const row = event.target.closest(".worklist tbody tr");
  if (!row || event.target.closest("a") || String(getSelection())) return;
  const link = row.querySelector("a.row-link");
  if (event.ctrlKey || event.metaKey) open(link.href, "_blank", "noopener");
  else link.click();
});
