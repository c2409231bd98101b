"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  if (table.tBodies[0].rows.length < 2) continue;
  const heads = [...table.tHead.rows[0].cells];
  for (const [column, head] of heads.entries()) {
    if (head.tagName !== "TH") continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortRows(table, heads, column));
    head.append(button);
  }
}

function sortRows(table, heads, column) {
  const valueOf = ({ dataset, textContent }) => (dataset.value ?? textContent).trim();
  const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row.cells[column]), row]);
  const known = rows.filter(([value]) => value !== "");
  const numbers = known.every(([value]) => Number.isFinite(Number(value)));
  const first = numbers ? "descending" : "ascending";
  const second = numbers ? "ascending" : "descending";
  const order = heads[column].getAttribute("aria-sort") === first ? second : first;
  const sign = order === "ascending" ? 1 : -1;
  known.sort(([a], [b]) => sign * (numbers ? a - b : a.localeCompare(b)));
  const missing = rows.filter(([value]) => value === "");
  table.tBodies[0].append(...[...known, ...missing].map(([, row]) => row));
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[column].setAttribute("aria-sort", order);
}
