"use strict";
// Everything can be read without this; it sorts, filters, hides columns and keeps labels.
document.documentElement.classList.add("scripted");
const find = (selector, from = document) => [...from.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);
const rows = find(".row");

// Sorting

function sortKey(cell) {
  const text = cell ? cell.textContent.trim() : "";
  const number = parseFloat(text.replace(/,/g, "").replace("−", "-"));
  return Number.isNaN(number) ? text.toLowerCase() : number;
}

function compareKeys(one, other) {
  // Numbers come before texts, and what is empty or "-" comes last either way.
  if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
  return one < other ? -1 : one > other ? 1 : 0;
}

for (const table of find("table.sortable")) {
  find("th", table).forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "descending";
      const upwards = head.getAttribute("aria-sort") === "ascending" ? false : down || !head.classList.contains("number");
      find("th", table).forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", upwards ? "ascending" : "descending");
      const body = table.tBodies[0];
      const keyed = [...body.rows].map((row) => [sortKey(row.cells[place]), row]);
      const missing = ([key]) => key === "" || key === "-";
      keyed.sort((a, b) => missing(a) - missing(b) || (upwards ? 1 : -1) * compareKeys(a[0], b[0]));
      body.append(...keyed.map(([, row]) => row));
    });
  });
}

// Filtering; the filter stands in the address, so that a link to what is shown can be shared

const filters = ["search", "status", "relation", "labelled"].map(byId).filter(Boolean);
const shown = (row) => !row.hidden;

function fill(select, values) {
  for (const value of [...new Set(values)].filter(Boolean).sort()) select.add(new Option(value));
}

function labelOf(row) {
  const label = row.querySelector("select.label");
  return label ? label.value : "";
}

function fits(row) {
  const value = (id) => (byId(id) ? byId(id).value : "");
  const text = value("search").toLowerCase();
  const label = value("labelled");
  return (
    (!text || row.textContent.toLowerCase().includes(text)) &&
    (!value("status") || row.dataset.status === value("status")) &&
    (!value("relation") || row.dataset.relation === value("relation")) &&
    (!label || (label === "-" ? !labelOf(row) : labelOf(row) === label))
  );
}

function apply() {
  for (const row of rows) row.hidden = !fits(row);
  if (byId("count")) byId("count").textContent = `${rows.filter(shown).length} of ${rows.length}`;
}

function remember() {
  const state = new URLSearchParams();
  for (const filter of filters) if (filter.value) state.set(filter.id, filter.value);
  history.replaceState(null, "", `#${state}`);
}

function recall() {
  const hash = location.hash.slice(1);
  if (/^s\d+$/.test(hash)) return;
  const state = new URLSearchParams(hash);
  for (const filter of filters) filter.value = state.get(filter.id) || "";
}

if (byId("status")) fill(byId("status"), rows.map((row) => row.dataset.status));
if (byId("relation")) fill(byId("relation"), rows.map((row) => row.dataset.relation));
for (const filter of filters) {
  filter.addEventListener("input", () => {
    remember();
    apply();
  });
}
addEventListener("hashchange", () => {
  recall();
  apply();
});

// Columns

if (byId("columns")) {
  const table = document.querySelector("table.sortable");
  find("th", table).forEach((head, place) => {
    if (place < 2) return;
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
    const label = document.createElement("label");
    label.append(box, ` ${head.textContent}`);
    box.addEventListener("change", () => {
      for (const row of table.rows) row.cells[place].hidden = !box.checked;
    });
    byId("columns").append(label);
  });
}

// Labels

const cards = document.querySelector(".cards");

function store(row, change) {
  const key = ["spare", cards.dataset.run, row.dataset.task, row.dataset.prompt, row.dataset.rules, row.dataset.id].join("\n");
  try {
    if (change) localStorage.setItem(key, JSON.stringify(change));
    return JSON.parse(localStorage.getItem(key) || "{}");
  } catch (error) {
    return change || {}; // a browser that keeps nothing still labels until it is closed
  }
}

function keep(row) {
  store(row, { label: labelOf(row), note: row.querySelector(".comment").value });
}

function quoted(text) {
  // A spreadsheet must not take a reply for a formula.
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return `"${safe.replace(/"/g, '""')}"`;
}

if (cards) {
  for (const row of rows) {
    const kept = store(row);
    row.querySelector("select.label").value = kept.label || "";
    row.querySelector(".comment").value = kept.note || "";
    for (const field of find("select.label, .comment", row)) field.addEventListener("input", () => keep(row));
  }
  byId("save").addEventListener("click", () => {
    const names = ["task", "prompt", "rules", "id", "relation", "target", "reply", "read", "status"];
    const lines = [["run", ...names, "label", "note"].join(",")];
    for (const row of rows) {
      const values = names.map((name) => row.dataset[name]);
      lines.push([cards.dataset.run, ...values, labelOf(row), row.querySelector(".comment").value].map(quoted).join(","));
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    link.download = "labels.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  addEventListener("keydown", (event) => {
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey) return;
    const open = rows.filter(shown);
    const here = open.indexOf(document.activeElement.closest ? document.activeElement.closest(".card") : null);
    const step = { j: 1, k: -1, ArrowDown: event.altKey ? 1 : 0, ArrowUp: event.altKey ? -1 : 0 }[event.key];
    if (step) {
      const next = open[Math.min(Math.max(here + step, 0), open.length - 1)];
      if (next) next.focus();
      event.preventDefault();
    } else if (/^\d$/.test(event.key) && here >= 0) {
      const label = open[here].querySelector("select.label");
      if (Number(event.key) < label.options.length) label.selectedIndex = Number(event.key);
      keep(open[here]);
    }
  });
}

recall();
apply();
