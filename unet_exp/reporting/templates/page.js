"use strict";
(() => {
  const root = document.documentElement;

  const theme = document.getElementById("theme");
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const label = () => { theme.textContent = isDark() ? "Light theme" : "Dark theme"; };
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; label(); });
  label();

  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = Number(text);
    return text === "" || text === "–" ? null : Number.isNaN(number) ? text.toLowerCase() : number;
  };
  // Cells without a value stay last in both directions.
  const compare = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
  };
  const sort = (table, header, column) => {
    const ascending = header.getAttribute("aria-sort") === "descending";
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => compare(value(a, column), value(b, column), ascending ? 1 : -1));
    table.tBodies[0].append(...rows);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      button.addEventListener("click", () => sort(table, header, column));
      header.append(button);
    });
  }

  for (const group of document.querySelectorAll(".toggle.all")) group.hidden = false;
  for (const button of document.querySelectorAll("button[data-view]")) {
    button.addEventListener("click", () => {
      const grid = document.getElementById(button.dataset.section);
      for (const choice of grid.querySelectorAll(`input[value="${button.dataset.view}"]`)) choice.checked = true;
      press(grid);
    });
  }
  // A button is pressed while every case shows its view.
  const press = (grid) => {
    for (const button of document.querySelectorAll(`button[data-section="${grid.id}"]`)) {
      const all = [...grid.querySelectorAll(`input[value="${button.dataset.view}"]`)];
      button.setAttribute("aria-pressed", String(all.every((choice) => choice.checked)));
    }
  };
  for (const grid of document.querySelectorAll(".cases-grid")) grid.addEventListener("change", () => press(grid));

  // Paper cannot be unfolded.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open], figure details)")];
    for (const item of folded) item.open = true;
  });
  addEventListener("afterprint", () => { for (const item of folded) item.open = false; });
})();
