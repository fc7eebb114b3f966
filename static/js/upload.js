// Upload: one file a request, a few at once, each with its own bar and its own answer.
const AT_ONCE = 3;
const FIRST_WAIT_S = 2;
const LONGEST_WAIT_S = 60;
const MOST_TRIES = 8;

const form = document.querySelector("[data-upload]");
const drop = form.querySelector("[data-drop]");
const table = form.querySelector("[data-table]");
const rows = form.querySelector("[data-rows]");
const sum = form.querySelector("[data-sum]");
const pauseButton = form.querySelector("[data-pause]");
const retryButton = form.querySelector("[data-retry-all]");
const maxBytes = Number(form.dataset.maxBytes);

const waiting = [];
const failed = [];
const counts = { all: 0, done: 0, refused: 0 };
let running = 0;
let paused = false;

const SIZES = ["bytes", "kB", "MB", "GB"];
function sizeText(bytes) {
  const step = Math.min(SIZES.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  return `${(bytes / 1000 ** step).toFixed(step ? 1 : 0)} ${SIZES[step]}`;
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function addRow(name, size) {
  const row = element("tr");
  const first = element("td");
  first.append(element("span", "name", name), element("small", "", sizeText(size)));
  row.append(first, element("td", "quiet", "—"), element("td", "quiet", "waiting for its turn"));
  rows.append(row);
  return row;
}

function say(row, tone, sign, word, sentence) {
  const result = element("div", "result");
  const tag = element("span", `tag ${tone}`);
  const mark = element("span", "sign", sign);
  mark.setAttribute("aria-hidden", "true");
  tag.append(mark, word);
  result.append(tag, element("span", "quiet", sentence));
  row.cells[2].className = "";
  row.cells[2].replaceChildren(result);
}

function showSum() {
  sum.hidden = table.hidden = counts.all === 0;
  sum.querySelector("[data-done]").textContent = `${counts.done} of ${counts.all} done`;
  const unsent = failed.length ? `${failed.length} not sent` : "";
  const refused = counts.refused ? `${counts.refused} refused` : "";
  sum.querySelector("[data-refused]").textContent = [refused, unsent].filter(Boolean).join(" · ");
  pauseButton.hidden = waiting.length === 0 && !paused;
  pauseButton.textContent = paused ? "Go on" : "Pause";
  retryButton.hidden = failed.length === 0;
}

function finish(item, html) {
  const holder = element("tbody");
  holder.innerHTML = html; // Our own server's answer, escaped by its templates.
  const row = holder.querySelector("tr");
  if (!row) return giveUp(item, "The answer was not understood.");
  row.classList.add("arrived");
  item.row.replaceWith(row);
  window.htmx.process(row);
  counts.done += 1;
  if (["refused", "conflict"].includes(row.dataset.outcome)) counts.refused += 1;
}

function giveUp(item, sentence) {
  say(item.row, "failed", "✕", "Not sent", sentence);
  failed.push(item);
}

function again(item, seconds) {
  item.tries += 1;
  if (item.tries >= MOST_TRIES) return giveUp(item, "The server did not take it. Try again later.");
  const wait = Math.min(LONGEST_WAIT_S, Math.max(seconds, FIRST_WAIT_S * 2 ** (item.tries - 1)));
  say(item.row, "queued", "○", "Waiting", `the server is busy; trying again in ${Math.round(wait)} s`);
  setTimeout(() => { waiting.push(item); next(); }, wait * 1000);
}

function answered(item, request) {
  const page = request.responseURL && new URL(request.responseURL).pathname;
  const row = request.getResponseHeader("Content-Type")?.startsWith("text/html")
    && request.responseText.includes("<tr");
  if (page?.startsWith("/sign-in")) giveUp(item, "You have been signed out. Load the page again.");
  else if (request.status === 503 || request.status === 429) again(item, Number(request.getResponseHeader("Retry-After")) || 0);
  else if (row) finish(item, request.responseText);
  else if (request.status === 413) giveUp(item, `It is over the limit of ${sizeText(maxBytes)} a file.`);
  else if (request.status === 403) giveUp(item, "This form is too old. Load the page again.");
  else giveUp(item, `The server answered ${request.status}.`);
}

function send(item) {
  running += 1;
  const bar = element("progress");
  bar.max = 100;
  bar.value = 0;
  bar.setAttribute("aria-label", `Sending ${item.name}`);
  const percent = element("span", "number quiet", "0 %");
  item.row.cells[2].replaceChildren(bar, percent);

  const data = new FormData(form);
  data.delete("file");
  data.append("file", item.file, item.name);
  const request = new XMLHttpRequest();
  request.open("POST", form.action || location.href);
  request.setRequestHeader("X-CSRFToken", form.querySelector("[name=csrfmiddlewaretoken]").value);
  request.setRequestHeader("X-One-File", "1");
  request.upload.addEventListener("progress", (event) => {
    bar.value = event.lengthComputable ? (event.loaded / event.total) * 100 : 50;
    percent.textContent = bar.value < 100 ? `${Math.round(bar.value)} %` : "checking";
  });
  const settle = (then) => { running -= 1; then(); showSum(); next(); };
  request.addEventListener("load", () => settle(() => answered(item, request)));
  request.addEventListener("error", () => settle(() => again(item, 0)));
  request.send(data);
}

function next() {
  while (!paused && running < AT_ONCE && waiting.length) send(waiting.shift());
  showSum();
}

function add(files) {
  for (const { file, name } of files) {
    counts.all += 1;
    const item = { file, name, row: addRow(name, file.size), tries: 0 };
    if (file.size > maxBytes) {
      say(item.row, "refused", "✕", "Refused", `over the limit of ${sizeText(maxBytes)} a file; it was not sent`);
      counts.done += 1;
      counts.refused += 1;
    } else waiting.push(item);
  }
  next();
}

function named(list) {
  return [...list].map((file) => ({ file, name: file.webkitRelativePath || file.name }));
}

async function entriesOf(reader) {
  const all = [];
  for (;;) { // A reader answers at most a hundred at a time.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return all;
    all.push(...some);
  }
}

async function filesOf(entry, path) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, name: path + file.name }];
  }
  const inside = await entriesOf(entry.createReader());
  const lists = await Promise.all(inside.map((child) => filesOf(child, `${path}${entry.name}/`)));
  return lists.flat();
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length === 0) return named(transfer.files);
  return (await Promise.all(entries.map((entry) => filesOf(entry, "")))).flat();
}

for (const input of form.querySelectorAll("[data-files], [data-folder]")) {
  input.addEventListener("change", () => { add(named(input.files)); input.value = ""; });
}
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  add(await dropped(event.dataTransfer));
});
form.addEventListener("submit", (event) => event.preventDefault());
pauseButton.addEventListener("click", () => { paused = !paused; next(); });
retryButton.addEventListener("click", () => {
  for (const item of failed.splice(0)) { item.tries = 0; waiting.push(item); }
  next();
});
window.addEventListener("beforeunload", (event) => { if (running || waiting.length) event.preventDefault(); });
