"use strict";
// Sorts a table by a column: a button in each head of a table of class "sortable". The same text in
// every report, allowed by its hash; nothing of a run's data is ever in it.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = table.tHead.rows[0].cells;
  const first = Array.from(body.rows);
  for (const [place, head] of Array.from(heads).entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const turn = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", turn === 1 ? "ascending" : "descending");
      const cell = (row) => row.cells[place];
      const key = (row) => cell(row).dataset.value ?? cell(row).textContent.trim();
      const figure = (row) => parseFloat(key(row).replace("\u2212", "-").replace(/\u202f/g, ""));
      const rows = first.slice().sort((a, b) => {
        const [x, y] = [figure(a), figure(b)];
        if (Number.isNaN(x) || Number.isNaN(y)) {
          if (Number.isNaN(x) && Number.isNaN(y)) return turn * key(a).localeCompare(key(b));
          return Number.isNaN(x) - Number.isNaN(y);
        }
        return turn * (x - y);
      });
      body.append(...rows);
    });
  }
}
