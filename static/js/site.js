// Every page: '/' goes to the search, Escape and a click elsewhere close the menu.
const menu = document.querySelector("details.menu");
const search = document.querySelector("#find");

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

// A session that has ended answers a fragment with the sign-in page: go there instead.
document.addEventListener("htmx:beforeSwap", (event) => {
  const answered = new URL(event.detail.xhr.responseURL || location.href);
  if (answered.pathname.startsWith("/sign-in")) {
    event.detail.shouldSwap = false;
    location.reload();
  }
});
