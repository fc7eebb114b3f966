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

// A part of the page that is loaded again keeps what was unfolded and how far it was scrolled;
// htmx keeps the focus, by the id of the element.
const unfolded = new Map();
const scrolled = new Map();
const scrollers = () => [document.scrollingElement, ...document.querySelectorAll(".side")];

document.addEventListener("htmx:beforeSwap", (event) => {
  for (const details of event.detail.target.querySelectorAll("details[id]")) unfolded.set(details.id, details.open);
  for (const scroller of scrollers()) scrolled.set(scroller, scroller.scrollTop);
});
document.addEventListener("htmx:afterSwap", () => {
  for (const [id, open] of unfolded) document.getElementById(id)?.toggleAttribute("open", open);
  for (const [scroller, top] of scrolled) scroller.scrollTop = top;
  unfolded.clear();
  scrolled.clear();
});

// On paper stands when it was printed, not when the page was loaded.
window.addEventListener("beforeprint", () => {
  const format = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  for (const line of document.querySelectorAll("[data-printed]")) {
    const { sentence, reader } = line.dataset;
    line.textContent = sentence.replace("{moment}", format.format(new Date())).replace("{reader}", () => reader);
  }
});
