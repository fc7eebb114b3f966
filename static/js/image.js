// The image: zoom, the heat map over it (show, fade, choose by finding), annotations, panning.
const scroll = document.querySelector("[data-image]");
const image = scroll?.querySelector(".image");
const layer = scroll?.querySelector("[data-layer]");
const annotations = scroll?.querySelector("[data-annotations]");
const annotateButton = document.querySelector("[data-annotate]");
const legend = document.querySelector("[data-legend]");
const overlayButton = document.querySelector("[data-overlay]");
const cellsButton = document.querySelector("button[data-cells]");
const opacity = document.querySelector("[data-opacity]");
const zoomText = document.querySelector("[data-zoom-text]");
const fitUrl = image?.getAttribute("src");
const percent = new Intl.NumberFormat(document.documentElement.lang, { style: "percent" });

function setZoom(zoom) {
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.setAttribute("aria-pressed", String(button.dataset.zoom === zoom));
  }
  const full = zoom === "full";
  const wanted = full ? image.dataset.full : fitUrl;
  if (image.getAttribute("src") !== wanted) image.src = wanted;
  scroll.classList.toggle("full", full);
  if (full) {
    scroll.scrollLeft = (scroll.scrollWidth - scroll.clientWidth) / 2;
    scroll.scrollTop = (scroll.scrollHeight - scroll.clientHeight) / 2;
  }
  showZoom();
}

function showZoom() {
  const columns = Number(image.getAttribute("width"));
  const rows = Number(image.getAttribute("height"));
  if (!columns || !rows) return;
  const scale = scroll.classList.contains("full")
    ? 1
    : Math.min(image.clientWidth / columns, image.clientHeight / rows);
  zoomText.textContent = zoomText.dataset.zoomText.replace("{percent}", percent.format(scale));
}

function showLayer(shown) {
  layer.hidden = !shown || !layer.getAttribute("src");
  legend.hidden = layer.hidden;
  overlayButton.setAttribute("aria-pressed", String(!layer.hidden));
}

function choose(finding) {
  for (const other of document.querySelectorAll(".findings a[aria-current]")) {
    other.removeAttribute("aria-current");
  }
  finding.setAttribute("aria-current", "true");
  const inCells = cellsButton.getAttribute("aria-pressed") === "true";
  layer.classList.toggle("cells", inCells);
  layer.src = finding.dataset.layerUrl + (inCells ? "?cells=1" : "");
  for (const part of ["finding", "model", "cells", "strongest", "floor"]) {
    legend.querySelector(`[data-legend-${part}]`).textContent = finding.dataset[part];
  }
  showLayer(true);
}

// The choice is kept for the next page. One request after the other, so that the last choice stays.
let unsaved = false;
let saving = false;

function choices() {
  const values = new URLSearchParams();
  if (overlayButton.getAttribute("aria-pressed") === "true") values.set("shown", "1");
  if (cellsButton.getAttribute("aria-pressed") === "true") values.set("cells", "1");
  values.set("csrfmiddlewaretoken", document.querySelector("[name=csrfmiddlewaretoken]").value);
  return values;
}

async function remember() {
  unsaved = true;
  if (saving) return;
  saving = true;
  while (unsaved) {
    unsaved = false;
    // Without the server the choice holds for this page only.
    await fetch(overlayButton.dataset.preference, { method: "POST", body: choices(), keepalive: true }).catch(() => null);
  }
  saving = false;
}

function rememberAtTheEnd() {
  if (unsaved) navigator.sendBeacon(overlayButton.dataset.preference, choices());
}

function toggleCells() {
  if (cellsButton.disabled) return;
  const inCells = cellsButton.getAttribute("aria-pressed") !== "true";
  cellsButton.setAttribute("aria-pressed", String(inCells));
  const finding = firstFinding();
  if (finding && !layer.hidden) choose(finding);
  else layer.removeAttribute("src");
  remember();
}

function firstFinding() {
  return document.querySelector(".findings a[aria-current][data-layer-url]")
    ?? document.querySelector(".findings a[data-layer-url]");
}

function toggleOverlay() {
  if (overlayButton.disabled) return;
  if (layer.getAttribute("src")) showLayer(layer.hidden);
  else choose(firstFinding());
  remember();
}

function toggleAnnotations() {
  if (!annotations || annotateButton.disabled) return;
  annotations.hidden = !annotations.hidden;
  annotateButton.setAttribute("aria-pressed", String(!annotations.hidden));
}

function annotationsCannotShow() {
  annotations.hidden = true;
  annotateButton.disabled = true;
  annotateButton.setAttribute("aria-pressed", "false");
}

function offerOverlay() {
  const possible = firstFinding() !== null;
  overlayButton.disabled = !possible;
  cellsButton.disabled = !possible;
  opacity.disabled = !possible;
}

function cannotShow() {
  scroll.hidden = true;
  document.querySelector("[data-image-error]").hidden = false;
}

function drag(event) {
  if (!scroll.classList.contains("full") || event.button !== 0) return;
  event.preventDefault();
  const from = { x: event.clientX, y: event.clientY, left: scroll.scrollLeft, top: scroll.scrollTop };
  scroll.classList.add("dragging");
  scroll.setPointerCapture(event.pointerId);
  const move = (moved) => {
    scroll.scrollLeft = from.left - (moved.clientX - from.x);
    scroll.scrollTop = from.top - (moved.clientY - from.y);
  };
  const end = () => {
    scroll.classList.remove("dragging");
    scroll.removeEventListener("pointermove", move);
  };
  scroll.addEventListener("pointermove", move);
  scroll.addEventListener("pointerup", end, { once: true });
  scroll.addEventListener("pointercancel", end, { once: true });
}

function press(event) {
  const elsewhere = event.target.closest("input[type=search], input[type=text], select, textarea");
  if (elsewhere || event.ctrlKey || event.metaKey || event.altKey) return;
  const keys = { f: () => setZoom("fit"), 1: () => setZoom("full"), o: toggleOverlay, c: toggleCells, a: toggleAnnotations };
  keys[event.key.toLowerCase()]?.();
}

if (scroll) {
  for (const element of document.querySelectorAll("[data-scripted], [data-zoom], [data-overlay], button[data-cells], [data-annotate]")) {
    element.hidden = false;
  }
  const fade = () => { layer.style.opacity = String(opacity.valueAsNumber / 100); };
  opacity.addEventListener("input", fade);
  fade();
  overlayButton.addEventListener("click", toggleOverlay);
  cellsButton.addEventListener("click", toggleCells);
  annotateButton?.addEventListener("click", toggleAnnotations);
  annotations?.addEventListener("error", annotationsCannotShow);
  if (annotations?.complete && annotations.naturalWidth === 0) annotationsCannotShow();
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => setZoom(button.dataset.zoom));
  }
  image.addEventListener("dblclick", () => setZoom(scroll.classList.contains("full") ? "fit" : "full"));
  image.addEventListener("load", showZoom);
  image.addEventListener("error", cannotShow);
  if (image.complete && image.naturalWidth === 0) cannotShow();
  scroll.addEventListener("pointerdown", (event) => { if (event.pointerType === "mouse") drag(event); });
  window.addEventListener("pagehide", rememberAtTheEnd);
  new ResizeObserver(showZoom).observe(scroll);
  document.addEventListener("keydown", press);
  document.addEventListener("click", (event) => {
    const finding = event.target.closest(".findings a[data-layer-url]");
    if (!finding || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    choose(finding);
  });
  // A result that has just arrived is laid over the image only if heat maps are shown.
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id !== "results") return;
    offerOverlay();
    const finding = document.querySelector(".findings a[aria-current][data-layer-url]");
    if (finding && overlayButton.dataset.shown !== undefined && !layer.getAttribute("src")) choose(finding);
  });
  offerOverlay();
}
