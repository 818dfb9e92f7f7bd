// Keeps a page fresh while something on it is in progress, and adds keys, sliders, copying and actions.
"use strict";
const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const say = (text) => { one("#said").textContent = text; };

// --- fetch and replace: only what the server words differently, so that sliders and open parts stay as they are
const served = new Map(all("[data-live]").map((part) => [part.id, part.innerHTML]));
const timeless = (html) => html.replace(/<time[^>]*>[^<]*<\/time>/g, "");
let busy = false;

async function refresh() {
  if (busy || document.hidden) return;
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.redirected || !answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.body.dataset.refresh = fresh.body.dataset.refresh;
    for (const part of all("[data-live]", fresh)) replace(one(`#${part.id}`), part);
  } catch { /* the gateway restarts: look again at the next turn */ } finally { busy = false; }
}

function replace(old, part) {
  if (!old || timeless(served.get(part.id) ?? "") === timeless(part.innerHTML)) return;
  if (all("input:not([type=range]):not([type=checkbox])", old).some((field) => field.value)) return;
  served.set(part.id, part.innerHTML);
  const at = all("[data-row]", old).findIndex((row) => row.contains(document.activeElement));
  old.innerHTML = part.innerHTML;
  prepare(old);
  if (at >= 0) go(at);
}

let waited = 0;
setInterval(() => {
  if (document.hidden) return;
  const every = Number(document.body.dataset.refresh);
  waited += 1;
  if (every && waited >= every) { waited = 0; refresh(); }
  all(waited % 10 === 0 ? "time" : "time[data-clock]").forEach(age);
}, 1000);
document.addEventListener("visibilitychange", () => { if (!document.hidden && Number(document.body.dataset.refresh)) refresh(); });

function age(element) {
  const gap = (Date.now() - Date.parse(element.dateTime)) / 1000;
  const far = Math.abs(gap);
  if ("clock" in element.dataset && far < 3600) {
    element.textContent = `${Math.floor(far / 60)}:${String(Math.floor(far % 60)).padStart(2, "0")}`;
    return;
  }
  const [unit, size] = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]].find(([, length]) => far >= length) ?? ["s", 1];
  const number = `${Math.floor(far / size)} ${unit}`;
  element.textContent = "clock" in element.dataset ? number : far < 5 ? "now" : gap > 0 ? `${number} ago` : `in ${number}`;
}

// --- keys
function rows() { return all("[data-row] .open"); }
function go(index) {
  const links = rows();
  if (links.length) links[Math.max(0, Math.min(links.length - 1, index))].focus();
}
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=range]):not([type=checkbox]), select, textarea");
  if (event.ctrlKey || event.altKey || event.metaKey || typing || one("dialog[open]")) return;
  const at = rows().findIndex((link) => link.closest("[data-row]").contains(document.activeElement));
  const keys = {
    j: () => go(at + 1),
    k: () => go(at < 0 ? 0 : at - 1),
    "/": () => { if (one("#q")) one("#q").focus(); else location.href = "/#q"; },
    "?": () => one("#help").showModal(),
  };
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
if (location.hash === "#q") one("#q")?.focus();
one("#help-button").addEventListener("click", () => one("#help").showModal());

// --- sliders over slices and phases
function prepare(root) { all(".viewer", root).forEach(look); }
function look(viewer) {
  const query = new URLSearchParams();
  for (const slider of all("[data-name]", viewer)) {
    query.set(slider.dataset.name, slider.value);
    slider.nextElementSibling.textContent = `${slider.value} of ${slider.max}`;
  }
  const boxes = all("[data-label]", viewer);
  if (boxes.some((box) => !box.checked)) query.set("labels", boxes.filter((box) => box.checked).map((box) => box.dataset.label).join(","));
  const image = one("img", viewer);
  image.src = `${viewer.dataset.tiles}&${query}`;
  const chart = one(".curve", viewer.closest(".stack"));
  if (chart) for (const end of ["x1", "x2"]) one(".now", chart).setAttribute(end, Number(chart.dataset.left) + (query.get("phase") - 1) * chart.dataset.step);
}
document.addEventListener("input", (event) => {
  const viewer = event.target.closest(".viewer");
  if (viewer) look(viewer);
});

// --- clicks: copy a UID, jump to a phase
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-phase]");
  if (button?.dataset.phase) {
    one("[data-name=phase]", button.closest(".viewer")).value = button.dataset.phase;
    look(button.closest(".viewer"));
  } else if (button) {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      say("Copied.");
    } catch {
      getSelection().selectAllChildren(button.previousElementSibling);
      say("Selected: copy it with Ctrl+C.");
    }
  }
});

// --- actions: a form becomes a JSON request that carries the session's CSRF value
document.addEventListener("submit", async (event) => {
  const form = event.target.closest("[data-action]");
  if (!form) return;
  event.preventDefault();
  const button = one("button", form);
  button.disabled = true;
  try {
    const fields = Object.fromEntries(new FormData(form)), removes = form.dataset.method === "DELETE";
    const answer = await fetch(form.dataset.action + (removes ? `?${new URLSearchParams(fields)}` : ""), {
      method: form.dataset.method,
      headers: { "Content-Type": "application/json", "X-CSRF-Token": one("meta[name=csrf]").content },
      body: removes ? undefined : JSON.stringify(fields),
    });
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) { say(body.reason ?? `Not done: the gateway answered ${answer.status}.`); return; }
    if (removes) { location.href = "/"; return; }
    say(body.sentence ?? "Done.");
    form.reset();
    await refresh();
  } catch { say("The gateway does not answer."); } finally { button.disabled = false; }
});

prepare(document);
