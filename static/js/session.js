// Every page that may show a patient: is it still true, and may it still be seen?
// While nobody is signed in, the page is covered; while the server or its database does not
// answer, a line says since when the page is not up to date.
const LOOK_EVERY_MS = 15_000;
const LOOK_AGAIN_MS = 5_000;

const cover = document.querySelector("[data-cover]");
const stale = document.querySelector("[data-stale]");
const root = document.documentElement;
const title = document.title;
const time = new Intl.DateTimeFormat(root.lang, { hour: "2-digit", minute: "2-digit" });
let trueAt = new Date();
let timer;
let looks = 0;

function setCovered(covered) {
  if (covered === !cover.hidden) return;
  cover.hidden = !covered;
  root.toggleAttribute("data-covered", covered);
  for (const other of document.body.children) {
    if (other !== cover) other.inert = covered;
  }
  document.title = covered ? cover.dataset.title : title;
  if (covered) cover.querySelector("a").focus();
}

// Signing in gives a new token: forms that stood on the page need it, too.
function renewForms() {
  const token = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1];
  if (!token) return;
  for (const field of document.querySelectorAll("[name=csrfmiddlewaretoken]")) field.value = token;
}

function setStale(reason) {
  stale.hidden = !reason;
  if (reason) stale.textContent = stale.dataset[reason].replace("{time}", time.format(trueAt));
}

async function answerOfServer() {
  try {
    return await fetch(cover.dataset.url, {
      headers: { "HX-Request": "true" }, cache: "no-store", redirect: "manual", signal: AbortSignal.timeout(10_000),
    });
  } catch {
    return null; // No connection: the line on the page says so.
  }
}

async function look() {
  clearTimeout(timer);
  const number = ++looks;
  const answer = await answerOfServer();
  // An older answer may arrive after a newer one.
  if (number !== looks) return;
  if (answer?.ok) {
    const { user } = await answer.json();
    // Somebody else signed in: the page is not theirs.
    if (user !== cover.dataset.user) return location.reload();
    if (!cover.hidden) renewForms();
    setCovered(false);
    setStale("");
    trueAt = new Date();
  } else if (answer?.status === 401) {
    setStale("");
    setCovered(true);
  } else {
    setStale(answer ? "unavailable" : "offline");
  }
  timer = setTimeout(look, answer?.ok ? LOOK_EVERY_MS : LOOK_AGAIN_MS);
}

if (cover) {
  for (const kind of ["online", "offline", "focus", "pageshow"]) window.addEventListener(kind, look);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  for (const kind of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
    document.addEventListener(kind, look);
  }
}
