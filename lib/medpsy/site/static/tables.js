// Sorts a table when one of its headings is pressed: up, then down. Cells without a value stay at the end.
(function () {
  "use strict";

  // What a cell sorts by: its data-value, else the number its text begins with, else the text.
  function cellKey(cell) {
    const given = cell.getAttribute("data-value");
    const text = (given === null ? cell.textContent : given).trim();
    if (text === "" || text === "–" || text === "NaN" || text === "None") return null;
    const number = /^[+−-]?(\d[\d,]*\.?\d*|\.\d+)(e[+-]?\d+)?(?=$|[\s%])/i.exec(text);
    return number ? Number(number[0].replace(/,/g, "").replace("−", "-")) : text.toLowerCase();
  }

  function order(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === "number") return -1;
    if (typeof b === "number") return 1;
    return a < b ? -1 : a > b ? 1 : 0;
  }

  function sortBy(table, column, sign) {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, function (row, place) {
      return { row: row, key: row.cells[column] ? cellKey(row.cells[column]) : null, place: place };
    });
    rows.sort(function (a, b) {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
      return sign * order(a.key, b.key) || a.place - b.place;
    });
    body.append.apply(body, rows.map(function (item) { return item.row; }));
  }

  // The headings of single columns from left to right; those that share one stand in the second row, below it.
  function headings(table) {
    const below = table.tHead.rows.length > 1 ? Array.from(table.tHead.rows[1].cells) : [];
    return Array.from(table.tHead.rows[0].cells).flatMap(function (cell) {
      return cell.scope === "colgroup" ? below.splice(0, cell.colSpan) : [cell];
    });
  }

  function press(table, heading) {
    const up = heading.getAttribute("aria-sort") !== "ascending", columns = headings(table);
    for (const other of columns) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    sortBy(table, columns.indexOf(heading), up ? 1 : -1);
  }

  // Only plain tables can be sorted: no cell over several rows or columns but for shared headings of our own.
  function isPlain(table) {
    const rows = table.tHead ? table.tHead.rows.length : 0, shared = rows === 2 && table.classList.contains("medpsy");
    return (rows === 1 || shared) && table.tBodies.length === 1 && !(shared ? table.tBodies[0] : table)
      .querySelector("[rowspan]:not([rowspan='1']), [colspan]:not([colspan='1'])");
  }

  function makeSortable(table) {
    if (!isPlain(table)) return;
    table.classList.add("sortable");
    for (const heading of headings(table)) {
      const button = document.createElement("button");
      button.type = "button";
      button.append.apply(button, Array.from(heading.childNodes));
      button.addEventListener("click", function () { press(table, heading); });
      heading.append(button);
    }
  }

  document.addEventListener("DOMContentLoaded", function () {
    document.querySelectorAll("table.sortable, table.dataframe").forEach(makeSortable);
  });
})();
