"use strict";
// Sorting tables by a click on a column's head, and saving tables and pictures as files.

function numberOf(cell) {
  if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
  const found = cell.textContent.replace(/,/g, "").replace("\u2212", "-").match(/^\s*[+-]?[\d.]+(e[+-]?\d+)?/i);
  return found ? Number(found[0]) : NaN;
}

function sortBy(head, column) {
  const body = head.closest("table").tBodies[0];
  const rows = [...body.rows];
  const numbers = rows.map((row) => numberOf(row.cells[column]));
  const asText = numbers.every(Number.isNaN);
  const order = head.getAttribute("aria-sort");
  const down = asText ? order === "ascending" : order !== "descending";
  const keys = new Map(rows.map((row, i) => [row, asText ? row.cells[column].textContent : numbers[i]]));
  rows.sort((a, b) => {
    const x = keys.get(a), y = keys.get(b);
    if (asText) return down ? y.localeCompare(x) : x.localeCompare(y);
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return down ? y - x : x - y;
  });
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...rows);
}

function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name.replace(/[^\w.-]+/g, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function asCsv(table) {
  const quoted = (cell) => '"' + cell.textContent.replace(/"/g, '""') + '"';
  return [...table.rows].map((row) => [...row.cells].map(quoted).join(",")).join("\n") + "\n";
}

function asLatex(table) {
  const special = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" };
  const plain = (text) => text.replace(/[\\~^&%$#_{}]/g, (c) => special[c] || "\\" + c)
    .replace(/±/g, "$\\pm$").replace(/[–−]/g, "--").replace(/Δ/g, "$\\Delta$").replace(/†/g, "$\\dagger$");
  const cell = (c) => c.classList.contains("best") ? `\\textbf{${plain(c.textContent)}}`
    : c.classList.contains("near") ? `\\underline{${plain(c.textContent)}}` : plain(c.textContent);
  const line = (row) => "  " + [...row.cells].map(cell).join(" & ") + " \\\\";
  const columns = "l" + "r".repeat(table.rows[0].cells.length - 1);
  const head = table.tHead ? [...table.tHead.rows].map(line) : [];
  return [`\\begin{tabular}{${columns}}  % booktabs`, "  \\toprule", ...head, "  \\midrule",
    ...[...table.tBodies[0].rows].map(line), "  \\bottomrule", "\\end{tabular}", ""].join("\n");
}

function asSvg(svg) {
  const copy = svg.cloneNode(true);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const style = document.createElementNS("http://www.w3.org/2000/svg", "style");
  style.textContent = document.getElementById("plots").textContent;
  copy.prepend(style);
  copy.style.background = "var(--page)";
  return new XMLSerializer().serializeToString(copy);
}

function offer(place, entries) {
  const line = document.createElement("p");
  line.className = "save";
  for (const [label, act] of entries) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", act);
    line.append(button);
  }
  place.after(line);
}

for (const table of document.querySelectorAll("table.numbers[data-name]")) {
  const name = table.dataset.name;
  if (!name.startsWith("matrix:"))
    [...(table.tHead ? table.tHead.rows[0].cells : [])].forEach((head, column) => {
      head.classList.add("sorts");
      head.tabIndex = 0;
      head.addEventListener("click", () => sortBy(head, column));
      head.addEventListener("keydown", (event) => { if (event.key === "Enter") sortBy(head, column); });
    });
  offer(table.parentNode, [
    ["CSV", () => save(name + ".csv", "text/csv", asCsv(table))],
    ["LaTeX", () => save(name + ".tex", "text/x-tex", asLatex(table))],
  ]);
}
for (const svg of document.querySelectorAll("svg.plot"))
  offer(svg.parentNode, [["SVG", () => save(svg.getAttribute("aria-label") + ".svg", "image/svg+xml", asSvg(svg))]]);
