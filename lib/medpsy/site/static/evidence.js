// Lets a person filter and read responses: filters, list, address and keys. What a kind of evidence has of its own
// (its filters, its columns, what one response looks like) stands in evidence_questions.js and evidence_conversations.js.
(function () {
  "use strict";

  const PAGE = 50; // rows of the list shown at once
  const { make, fill, row: tableRow, field, commonFilters } = window.medpsyEvidence.parts;

  let root, kind, data, filters, matches = [], first = 0, opened = null;

  function part(name) { return root.querySelector("[data-part='" + name + "']"); }
  function say(text) { fill(part("response"), [make("p", { class: "missing" }, [text])]); }

  // ---- filters -------------------------------------------------------------------------------------------------

  function taskOf(row) { return data.tasks[data.task[row]]; } // [suite, id, first words, what the kind adds]
  function suiteOf(row) { return data.suites[taskOf(row)[0]]; }
  function taskName(row) { return suiteOf(row)[0] + "/" + taskOf(row)[1]; }

  function buildFilters() {
    fill(part("filters"), filters.map(function (filter) {
      const input = field(filter);
      input.addEventListener("input", function () { opened = null; apply(); });
      return make("label", filter.hidden ? { hidden: "" } : {}, [filter.label, input]);
    }));
  }

  // What is wanted: filter -> value, without those that let everything through.
  function wanted() {
    const values = filters.map(function (filter) { return [filter.name, part(filter.name).value.trim()]; });
    return Object.fromEntries(values.filter(function (pair) { return pair[1] !== ""; }));
  }

  function setFilters(values) {
    for (const filter of filters) {
      const input = part(filter.name);
      input.value = values[filter.name] || filter.fallback || "";
      if (input.selectedIndex === -1) input.value = filter.fallback || ""; // a name this section does not have
    }
  }

  function apply() {
    const want = wanted(), active = filters.filter(function (filter) { return filter.name in want; });
    matches = [];
    for (let row = 0; row < data.keys.length; row++) {
      if (active.every(function (filter) { return filter.fits(row, want[filter.name], want); })) matches.push(row);
    }
    first = 0;
    showList();
    if (opened === null) {
      fill(part("response"), [make("p", {}, ["Choose a response to read it."])]);
      remember(want);
    }
  }

  // The address keeps the filters, so that it can be shared; it never adds to the browser's history.
  function remember(want) {
    const named = filters.filter(function (filter) { return filter.name in want && !filter.hidden; });
    const hash = named.map(function (filter) { return filter.name + "=" + encodeURIComponent(want[filter.name]); }).join("&");
    history.replaceState(null, "", "#" + (hash || "all="));
  }

  // ---- list ----------------------------------------------------------------------------------------------------

  function showList() {
    const shown = matches.slice(first, first + PAGE), want = wanted();
    fill(part("list"), shown.map(function (row) { return listRow(row, want); }));
    const last = first + shown.length, total = matches.length.toLocaleString("en");
    part("count").textContent = matches.length ? (first + 1).toLocaleString("en") + " to " + last.toLocaleString("en") + " of " + total : "No response matches.";
    part("back").disabled = first === 0;
    part("on").disabled = last >= matches.length;
    const marked = part("list").querySelector("tr.opened");
    part("scroll").scrollTop = marked ? marked.offsetTop - part("scroll").clientHeight / 2 : 0;
  }

  function listRow(row, want) {
    const link = make("a", { href: "#" + data.keys[row] }, [taskOf(row)[1]]);
    const line = tableRow("td", [link, taskOf(row)[2], data.models[data.model[row]][1]].concat(kind.cells(data, row, want)));
    if (row === opened) line.classList.add("opened");
    return line;
  }

  function turn(step) {
    first = Math.max(0, Math.min(first + step, matches.length - 1));
    showList();
  }

  // ---- one response --------------------------------------------------------------------------------------------

  function open(row) {
    const chunk = chunkOf(row);
    opened = row;
    fill(part("response"), [make("p", {}, ["Loading ..."])]);
    first = Math.max(0, Math.floor(matches.indexOf(row) / PAGE) * PAGE);
    showList();
    window.medpsyEvidence.withChunk(chunk, function (content) {
      if (opened === row) show(row, content[0][row - data.starts[chunk]], content[1][data.task[row]]);
    }, function () {
      if (opened === row) say("The file with this response is missing; build the report again.");
    });
  }

  function chunkOf(row) {
    let low = 0, high = data.starts.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (data.starts[middle] <= row) low = middle; else high = middle - 1;
    }
    return low;
  }

  // text: [reasoning, answer, finish reason, tokens, what the kind adds]; task: the question or conversation itself.
  function show(row, text, task) {
    fill(part("response"), [heading(row, text, task)].concat(kind.show(data, row, text, task, wanted())));
  }

  function heading(row, text, task) {
    const facts = [suiteOf(row)[1]].concat(kind.facts(data, row, task), ["run " + data.run[row]]);
    if (text[3] !== null) facts.push(text[3].toLocaleString("en") + " tokens");
    const same = "#suite=" + encodeURIComponent(suiteOf(row)[0]) + "&" + kind.search + "=" + encodeURIComponent(taskName(row));
    return make("header", {}, [
      make("nav", { class: "pager" }, [stepButton("previous", "Previous", -1, "k"), stepButton("next", "Next", 1, "j")]),
      make("h2", {}, [data.models[data.model[row]][1] + " on " + taskOf(row)[1]]), make("p", {}, [facts.filter(Boolean).join(", ")]),
      make("p", {}, [make("a", { href: "#" + data.keys[row], "data-part": "link" }, ["Permanent link"]), " · ", make("a", { href: same }, [kind.same])]),
    ]);
  }

  function stepButton(name, label, step, key) {
    const button = make("button", { type: "button", "data-part": name, title: "Key " + key, "aria-keyshortcuts": key }, [label]);
    button.disabled = matches[matches.indexOf(opened) + step] === undefined;
    button.addEventListener("click", function () { go(step); });
    return button;
  }

  // Opens the response after (1) or before (-1) the opened one in the list, or the first if none is open.
  function go(step) {
    const row = opened === null ? matches[first] : matches[matches.indexOf(opened) + step];
    if (row === undefined) return;
    history.replaceState(null, "", "#" + data.keys[row]);
    open(row);
  }

  function pressed(event) {
    const typing = event.target.closest && event.target.closest("input, select, textarea");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "j") go(1);
    if (event.key === "k") go(-1);
  }

  // ---- start ---------------------------------------------------------------------------------------------------

  // The address names either one response (its key) or filters ("model=...&suite=...").
  function follow() {
    const hash = location.hash.slice(1);
    if (hash && !hash.includes("=")) return followKey(hash);
    setFilters(Object.fromEntries(new URLSearchParams(hash)));
    opened = null;
    apply();
  }

  function followKey(key) {
    const row = rowOf(key);
    if (!matches.includes(row)) { setFilters({}); opened = row; apply(); }
    if (row >= 0) return open(row);
    opened = null;
    say("This section has no response " + key + ".");
  }

  // The whole key of a response leads to it as well as the short one of the list.
  function rowOf(key) {
    const exact = data.keys.indexOf(key);
    return exact >= 0 ? exact : data.keys.findIndex(function (short) { return key.startsWith(short) || short.startsWith(key); });
  }

  function start(index) {
    data = index;
    filters = kind.filters(data, commonFilters(data));
    buildFilters();
    fill(part("headings"), [tableRow("th", kind.headings)]);
    part("back").addEventListener("click", function () { turn(-PAGE); });
    part("on").addEventListener("click", function () { turn(PAGE); });
    window.addEventListener("hashchange", follow);
    document.addEventListener("keydown", pressed);
    part("status").hidden = true;
    part("browser").hidden = false;
    follow();
    if (opened !== null) part("response").scrollIntoView();
  }

  document.addEventListener("DOMContentLoaded", function () {
    root = document.getElementById("evidence");
    if (!root) return;
    kind = window.medpsyEvidence.kinds[root.dataset.kind];
    window.medpsyEvidence.open(root.dataset.source, start, function (text) { part("status").textContent = text; });
  });
})();
