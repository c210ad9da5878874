// Filters the ledger's table: by verdict, section, notebook and audit, and by words that must all occur in a row.
(function () {
  "use strict";

  let rows, filters;

  function words(text) {
    return text.toLowerCase().split(/\s+/).filter(Boolean);
  }

  function fits(row) {
    return filters.every(function (filter) {
      if (filter.dataset.filter !== "text") return !filter.value || row.line.dataset[filter.dataset.filter] === filter.value;
      return words(filter.value).every(function (word) { return row.text.includes(word); });
    });
  }

  // Shows what fits; the address keeps the filters, so that it can be shared, and never adds to the browser's history.
  function apply(keep) {
    let shown = 0;
    for (const row of rows) {
      row.line.hidden = !fits(row);
      shown += !row.line.hidden;
    }
    document.getElementById("ledger-count").textContent = shown === rows.length ? rows.length + " claims" :
      shown + " of " + rows.length + " claims";
    if (keep) return;
    const set = filters.filter(function (filter) { return filter.value; });
    const hash = new URLSearchParams(set.map(function (filter) { return [filter.dataset.filter, filter.value]; }));
    history.replaceState(null, "", "#" + (String(hash) || "all="));
  }

  // The address names either one claim ("P111") or filters ("verdict=differs&text=medqa").
  function follow() {
    const hash = location.hash.slice(1);
    const given = new URLSearchParams(hash.includes("=") ? hash : "");
    for (const filter of filters) filter.value = given.get(filter.dataset.filter) || "";
    for (const filter of filters) if (filter.selectedIndex === -1) filter.value = "";
    apply(true);
    const one = rows.find(function (row) { return row.line.id === hash; });
    for (const row of rows) row.line.classList.toggle("opened", row === one);
    if (one) one.line.scrollIntoView({ block: "center" });
  }

  document.addEventListener("DOMContentLoaded", function () {
    const table = document.getElementById("ledger");
    if (!table) return;
    rows = Array.from(table.tBodies[0].rows, function (line) {
      return { line: line, text: line.textContent.toLowerCase() };
    });
    filters = Array.from(document.querySelectorAll("[data-filter]"));
    for (const filter of filters) filter.addEventListener("input", function () { apply(false); });
    window.addEventListener("hashchange", follow);
    follow();
  });
})();
