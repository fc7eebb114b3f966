// Upload: one file per request, a few at once, each with its own progress bar and result.
const AT_ONCE = 3;
const FIRST_WAIT_S = 2;
const LONGEST_WAIT_S = 60;
const MOST_TRIES = 8;

const form = document.querySelector("[data-upload]");
const drop = form.querySelector("[data-drop]");
const table = form.querySelector("[data-table]");
const rows = form.querySelector("[data-rows]");
const summary = form.querySelector("[data-summary]");
const pauseButton = form.querySelector("[data-pause]");
const retryButton = form.querySelector("[data-retry-all]");
const maxBytes = Number(form.dataset.maxBytes);
// The sentences in the reader's language, from diagnoses/pages/upload/texts.py.
const texts = JSON.parse(document.querySelector("#upload-texts").textContent);
const language = document.documentElement.lang;
const percent = new Intl.NumberFormat(language, { style: "percent" });
const pluralRules = new Intl.PluralRules(language);

const held = form.querySelector("[data-held]");
const heldText = form.querySelector("[data-held-text]");
const heldSend = form.querySelector("[data-held-send]");

const waiting = [];
const failed = [];
const counts = { all: 0, done: 0, refused: 0 };
const heldFiles = []; // Chosen, and not sent before somebody has looked at the entries.
let sentEntries = new Map(); // What the files before were sent with.
let running = 0;
let paused = false;

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte"];
function sizeText(bytes) {
  const step = Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  const format = { style: "unit", unit: UNITS[step], maximumFractionDigits: step ? 1 : 0 };
  return new Intl.NumberFormat(language, format).format(bytes / 1000 ** step);
}

// Return a sentence with its placeholders filled: fill("{done} of {total}", { done: 1, total: 2 }).
function fill(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

// Return the plural form for a count. The forms are keyed by a number of each plural category.
function plural(forms, count) {
  const category = pluralRules.select(count);
  const example = Object.keys(forms).find((number) => pluralRules.select(Number(number)) === category);
  return fill(forms[example] ?? Object.values(forms).at(-1), { count });
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Return a sign of static/img/signs.svg, as templates/includes/sign.html draws it.
function drawn(sign) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "sign");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `${form.dataset.signs}#${sign}`);
  svg.append(use);
  return svg;
}

function addRow(name, size) {
  const row = element("tr");
  const first = element("td");
  first.append(element("span", "name", name), element("small", "", sizeText(size)));
  row.append(first, element("td", "quiet", "—"), element("td", "quiet", texts.queued));
  rows.append(row);
  return row;
}

function showResult(row, tone, sign, word, sentence) {
  const result = element("div", "result");
  const tag = element("span", `tag ${tone}`);
  tag.append(drawn(sign), word);
  result.append(tag, element("span", "quiet", sentence));
  row.cells[2].className = "";
  row.cells[2].replaceChildren(result);
}

function showSummary() {
  summary.hidden = table.hidden = counts.all === 0;
  summary.querySelector("[data-done]").textContent = fill(texts.progress, { done: counts.done, total: counts.all });
  const unsent = failed.length ? plural(texts.count_not_sent, failed.length) : "";
  const refused = counts.refused ? plural(texts.count_refused, counts.refused) : "";
  summary.querySelector("[data-refused]").textContent = [refused, unsent].filter(Boolean).join(" · ");
  pauseButton.hidden = waiting.length === 0 && !paused;
  pauseButton.textContent = paused ? texts.resume : texts.pause;
  retryButton.hidden = failed.length === 0;
}

function finish(item, html) {
  const holder = element("tbody");
  holder.innerHTML = html; // Our own server's answer, escaped by its templates.
  const row = holder.querySelector("tr");
  if (!row) return giveUp(item, texts.unreadable_answer);
  row.classList.add("arrived");
  item.row.replaceWith(row);
  window.htmx.process(row);
  showErrors(item, row);
  counts.done += 1;
  if (["refused", "conflict"].includes(row.dataset.outcome)) counts.refused += 1;
}

function giveUp(item, sentence) {
  showResult(item.row, "failed", "cross", texts.not_sent, sentence);
  failed.push(item);
}

function retryLater(item, seconds) {
  item.tries += 1;
  if (item.tries >= MOST_TRIES) return giveUp(item, texts.server_unavailable);
  const wait = Math.min(LONGEST_WAIT_S, Math.max(seconds, FIRST_WAIT_S * 2 ** (item.tries - 1)));
  showResult(item.row, "queued", "circle", texts.waiting, fill(texts.server_busy, { seconds: Math.round(wait) }));
  setTimeout(() => { waiting.push(item); next(); }, wait * 1000);
}

function answered(item, request) {
  const page = request.responseURL && new URL(request.responseURL).pathname;
  const row = request.getResponseHeader("Content-Type")?.startsWith("text/html")
    && request.responseText.includes("<tr");
  if (page?.startsWith("/sign-in")) giveUp(item, texts.signed_out);
  else if (request.status === 503 || request.status === 429) retryLater(item, Number(request.getResponseHeader("Retry-After")) || 0);
  else if (row) finish(item, request.responseText);
  else if (request.status === 413) giveUp(item, fill(texts.over_limit, { limit: sizeText(maxBytes) }));
  else if (request.status === 403) giveUp(item, texts.form_expired);
  else giveUp(item, fill(texts.other_status, { status: request.status }));
}

function send(item) {
  running += 1;
  const bar = element("progress");
  bar.max = 100;
  bar.value = 0;
  bar.setAttribute("aria-label", fill(texts.sending, { name: item.name }));
  const progress = element("span", "number quiet", percent.format(0));
  item.row.cells[2].replaceChildren(bar, progress);

  const data = new FormData();
  for (const [name, value] of item.entries) data.append(name, value);
  data.append("file", item.file, item.name);
  const request = new XMLHttpRequest();
  request.open("POST", form.action || location.href);
  request.setRequestHeader("X-CSRFToken", form.querySelector("[name=csrfmiddlewaretoken]").value);
  request.setRequestHeader("X-One-File", "1");
  request.upload.addEventListener("progress", (event) => {
    bar.value = event.lengthComputable ? (event.loaded / event.total) * 100 : 50;
    progress.textContent = bar.value < 100 ? percent.format(bar.value / 100) : texts.checking;
  });
  const settle = (then) => { running -= 1; then(); showSummary(); next(); };
  request.addEventListener("load", () => settle(() => answered(item, request)));
  request.addEventListener("error", () => settle(() => retryLater(item, 0)));
  request.send(data);
}

function next() {
  while (!paused && running < AT_ONCE && waiting.length) send(waiting.shift());
  showSummary();
}

// Return what the form says about the patient: only what differs from an empty form.
function entriesOfForm() {
  const entries = new Map();
  for (const [name, value] of new FormData(form)) {
    if (name === "csrfmiddlewaretoken" || typeof value !== "string" || !value.trim()) continue;
    entries.set(name, value.trim());
  }
  if (form.querySelector("[name=priority]:checked")?.matches("[data-default]")) entries.delete("priority");
  return entries;
}

function wordOf(name, value) {
  const control = form.elements[name];
  if (control instanceof HTMLSelectElement) return control.selectedOptions[0].textContent;
  if (control instanceof RadioNodeList) return form.querySelector(`[name=${name}]:checked`).parentElement.textContent.trim();
  return value;
}

// Send the files, unless an entry is wrong or may be that of the patient before.
function offer(files) {
  heldFiles.push(...files);
  const entries = entriesOfForm();
  const same = [...entries].filter(([name, value]) => sentEntries.get(name) === value);
  if (!form.checkValidity()) hold(texts.correct_first);
  else if (same.length) {
    const words = same.map(([name, value]) => `${texts.field_labels[name]} ${wordOf(name, value)}`);
    hold(fill(texts.carried_over, { entries: words.join(", ") }));
  } else release();
}

function hold(sentence) {
  heldText.textContent = sentence;
  heldSend.textContent = plural(texts.count_held, heldFiles.length);
  held.hidden = heldFiles.length === 0;
  if (!held.hidden) heldSend.focus();
}

function release() {
  if (!form.checkValidity()) {
    hold(texts.correct_first);
    form.reportValidity();
    return;
  }
  sentEntries = entriesOfForm();
  held.hidden = true;
  add(heldFiles.splice(0), sentEntries);
}

function discard() {
  heldFiles.length = 0;
  held.hidden = true;
}

function clearEntries() {
  for (const control of form.elements) {
    if (control.matches("input[type=radio]")) control.checked = control.matches("[data-default]");
    else if (control.matches("select, input:not([type=file], [type=hidden])")) control.value = "";
  }
  for (const place of form.querySelectorAll("[data-errors-of]")) setError(place, "");
  sentEntries = new Map();
}

function nextPatient() {
  clearEntries();
  hold(texts.enter_next);
  form.elements.patient_id.focus();
}

function setError(place, text) {
  place.textContent = text;
  const control = form.elements[place.dataset.errorsOf];
  if (text) control.setAttribute("aria-invalid", "true");
  else control.removeAttribute("aria-invalid");
}

// Show the errors of a refused file beside the entries, if these are still the ones it was sent with.
function showErrors(item, row) {
  for (const error of row.querySelectorAll("[data-error-of]")) {
    const name = error.dataset.errorOf;
    const place = form.querySelector(`[data-errors-of="${CSS.escape(name)}"]`);
    if (place && item.entries.get(name) === entriesOfForm().get(name)) setError(place, error.textContent.trim());
  }
}

function add(files, entries) {
  for (const { file, name } of files) {
    counts.all += 1;
    const item = { file, name, entries, row: addRow(name, file.size), tries: 0 };
    if (file.size > maxBytes) {
      showResult(item.row, "refused", "cross", texts.refused, fill(texts.too_large, { limit: sizeText(maxBytes) }));
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
  input.addEventListener("change", () => { offer(named(input.files)); input.value = ""; });
}
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  offer(await dropped(event.dataTransfer));
});
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", (event) => {
  const place = form.querySelector(`[data-errors-of="${CSS.escape(event.target.name)}"]`);
  if (place) setError(place, "");
});
heldSend.addEventListener("click", release);
form.querySelector("[data-held-next]").addEventListener("click", nextPatient);
form.querySelector("[data-held-discard]").addEventListener("click", discard);
form.querySelector("[data-next-patient]").addEventListener("click", nextPatient);
// A page from the browser's memory shows what was typed for another patient.
window.addEventListener("pageshow", (event) => { if (event.persisted) clearEntries(); });
pauseButton.addEventListener("click", () => { paused = !paused; next(); });
retryButton.addEventListener("click", () => {
  for (const item of failed.splice(0)) { item.tries = 0; waiting.push(item); }
  next();
});
window.addEventListener("beforeunload", (event) => { if (running || waiting.length || heldFiles.length) event.preventDefault(); });
