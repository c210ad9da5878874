// Lets a person filter and read responses. Every text from a model or a question becomes a text node, never markup.
// Data comes from script files beside the page (see chunks.py): index.js first, then one chunk per opened response.
(function () {
  "use strict";

  const LETTERS = "ABCDEFGHIJ";
  const PAGE = 50; // rows of the list shown at once
  const KEPT = 8; // chunks held in memory
  const FILTERS = ["model", "suite", "reader", "outcome", "run", "question"];

  let root, data, matches = [], first = 0, opened = null;
  const chunks = new Map(), waiting = new Map();

  // ---- small helpers -------------------------------------------------------------------------------------------

  function make(tag, attributes, children) {
    const element = document.createElement(tag);
    for (const name in attributes || {}) element.setAttribute(name, attributes[name]);
    for (const child of children || []) if (child !== null) element.append(child); // strings become text nodes
    return element;
  }

  function part(name) { return root.querySelector("[data-part='" + name + "']"); }
  function letter(option) { return option < 0 ? "–" : LETTERS[option]; }
  function questionOf(row) { return data.questions[data.question[row]]; } // [suite, id, first words, gold]
  function questionName(row) { return data.suites[questionOf(row)[0]][0] + "/" + questionOf(row)[1]; }
  function fill(element, children) { element.replaceChildren.apply(element, children); }

  function load(file, failed) {
    const script = make("script", { src: root.dataset.source + file });
    script.addEventListener("error", function () { script.remove(); failed(); });
    script.addEventListener("load", function () { script.remove(); });
    document.head.append(script);
  }

  // ---- filters -------------------------------------------------------------------------------------------------

  // A filter's choices: [value in the address, text shown].
  function choices(name) {
    if (name === "model") return data.models;
    if (name === "suite") return data.suites;
    if (name === "run") return Array.from(new Set(data.run)).sort(function (a, b) { return a - b; }).map(twice);
    return data[name + "s"].map(function (item) { return twice(item[0]); }); // readers, outcomes
  }

  function twice(value) { return [String(value), String(value)]; }

  function buildFilters() {
    for (const name of FILTERS) {
      const field = part(name);
      if (name !== "question") {
        if (name !== "reader") field.append(make("option", { value: "" }, ["all"]));
        for (const choice of choices(name)) field.append(make("option", { value: choice[0] }, [choice[1]]));
      }
      field.addEventListener("input", function () { opened = null; apply(); });
    }
    part("reader").closest("label").hidden = data.readers.length < 2;
  }

  function state() {
    const values = {};
    for (const name of FILTERS) values[name] = part(name).value.trim();
    return values;
  }

  function setState(values) {
    for (const name of FILTERS) {
      const fallback = name === "reader" ? data.readers[0][0] : "";
      part(name).value = values[name] || fallback;
      if (part(name).selectedIndex === -1) part(name).value = fallback; // a name this section does not have
    }
  }

  // The reading of one row by the chosen reader: [reader, outcome, option], or undefined.
  function readingOf(row, reader) {
    return data.readings[row].find(function (reading) { return data.readers[reading[0]][0] === reader; });
  }

  function fits(row, want) {
    const question = questionOf(row), reading = readingOf(row, want.reader);
    const search = want.question.toLowerCase();
    return reading !== undefined &&
      (!want.model || data.models[data.model[row]][0] === want.model) &&
      (!want.suite || data.suites[question[0]][0] === want.suite) &&
      (!want.outcome || data.outcomes[reading[1]][0] === want.outcome) &&
      (!want.run || String(data.run[row]) === want.run) &&
      (!search || questionName(row).toLowerCase() === search || (question[1] + " " + question[2]).toLowerCase().includes(search));
  }

  function apply() {
    const want = state();
    matches = [];
    for (let row = 0; row < data.keys.length; row++) if (fits(row, want)) matches.push(row);
    first = 0;
    showList();
    if (opened === null) {
      fill(part("response"), [make("p", {}, ["Choose a response to read it."])]);
      remember(want);
    }
  }

  // The address keeps the filters, so that it can be shared; it never adds to the browser's history.
  function remember(want) {
    const pairs = FILTERS.filter(function (name) { return want[name] && (name !== "reader" || data.readers.length > 1); });
    const hash = pairs.map(function (name) { return name + "=" + encodeURIComponent(want[name]); }).join("&");
    history.replaceState(null, "", "#" + (hash || "all="));
  }

  // ---- list ----------------------------------------------------------------------------------------------------

  function showList() {
    const shown = matches.slice(first, first + PAGE), reader = part("reader").value;
    fill(part("list"), shown.map(function (row) { return listRow(row, reader); }));
    const last = first + shown.length, total = matches.length.toLocaleString("en");
    part("count").textContent = matches.length ? (first + 1).toLocaleString("en") + " to " + last.toLocaleString("en") + " of " + total : "No response matches.";
    part("back").disabled = first === 0;
    part("on").disabled = last >= matches.length;
  }

  function listRow(row, reader) {
    const question = questionOf(row), reading = readingOf(row, reader);
    const cells = [
      make("a", { href: "#" + data.keys[row] }, [question[1]]), question[2], data.models[data.model[row]][1], data.suites[question[0]][1],
      String(data.run[row]), letter(reading[2]), letter(question[3]), outcome(reading[1]),
    ].map(function (content) { return make("td", {}, [content]); });
    return make("tr", row === opened ? { class: "opened" } : {}, cells);
  }

  function outcome(number) {
    const name = data.outcomes[number][0];
    return make("span", { class: "outcome", "data-outcome": name }, [name]);
  }

  function turn(step) {
    first = Math.max(0, Math.min(first + step, matches.length - 1));
    showList();
  }

  // ---- one response --------------------------------------------------------------------------------------------

  function open(row) {
    opened = row;
    fill(part("response"), [make("p", {}, ["Loading ..."])]);
    withChunk(chunkOf(row), function (chunk) { if (opened === row) showResponse(row, chunk); });
  }

  function chunkOf(row) {
    let low = 0, high = data.starts.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (data.starts[middle] <= row) low = middle; else high = middle - 1;
    }
    return low;
  }

  function withChunk(number, done) {
    if (chunks.has(number)) return done(chunks.get(number));
    if (waiting.has(number)) return waiting.get(number).push(done);
    waiting.set(number, [done]);
    load(String(number).padStart(4, "0") + ".js", function () {
      waiting.delete(number);
      fill(part("response"), [make("p", { class: "missing" }, ["The file with this response is missing; build the report again."])]);
    });
  }

  function arrived(number, texts, questions) {
    if (chunks.size >= KEPT) chunks.delete(chunks.keys().next().value);
    chunks.set(number, { texts: texts, questions: questions });
    const calls = waiting.get(number) || [];
    waiting.delete(number);
    for (const done of calls) done(chunks.get(number));
  }

  function showResponse(row, chunk) {
    const text = chunk.texts[row - data.starts[chunkOf(row)]]; // [reasoning, answer, finish reason, tokens, how each reader read it]
    const asked = chunk.questions[data.question[row]]; // [subject, stem, context, options]
    const gold = questionOf(row)[3], reading = readingOf(row, part("reader").value) || data.readings[row][0];
    fill(part("response"), [
      heading(row, asked, text), block("Question", asked[1]), asked[2] ? block("Context", asked[2]) : null,
      optionList(asked[3], gold, reading[2]), readings(row, gold, text[4]),
      text[0] ? block("Reasoning", text[0]) : null, answer(text),
    ].filter(Boolean));
  }

  function heading(row, asked, text) {
    const question = questionOf(row);
    const facts = [data.suites[question[0]][1], asked[0], "run " + data.run[row], text[3] === null ? "" : text[3].toLocaleString("en") + " tokens"];
    const same = "#suite=" + encodeURIComponent(data.suites[question[0]][0]) + "&question=" + encodeURIComponent(questionName(row));
    return make("header", {}, [
      make("h2", {}, [data.models[data.model[row]][1] + " on " + question[1]]), make("p", {}, [facts.filter(Boolean).join(", ")]),
      make("p", {}, [
        make("a", { href: "#" + data.keys[row], "data-part": "link" }, ["Permanent link"]), " · ",
        make("a", { href: same }, ["All responses to this question"]),
      ]),
    ]);
  }

  function block(title, text) {
    return make("section", {}, [make("h3", {}, [title]), make("pre", { class: "text" }, [text])]);
  }

  function answer(text) {
    if (text[1] !== null && text[1] !== "") return block("Answer", text[1]);
    const why = text[2] === "length" ? "None: the token limit came first." : text[2] === "failed" ? "None: the model did not respond." : "None.";
    return block("Answer", why);
  }

  function optionList(options, gold, chosen) {
    const items = options.map(function (option, place) {
      const marks = [place === gold ? "gold" : "", place === chosen ? "chosen" : ""].filter(Boolean);
      const signs = marks.map(function (mark) { return make("span", { class: "mark", "data-mark": mark }, [mark]); });
      return make("li", { class: marks.join(" ") }, [make("b", {}, [LETTERS[place] + "."]), " ", option, " "].concat(signs));
    });
    return make("section", {}, [make("h3", {}, ["Options"]), make("ul", { class: "options" }, items)]);
  }

  function readings(row, gold, how) {
    const rows = data.readings[row].map(function (reading, place) {
      const cells = [data.readers[reading[0]][0], letter(reading[2]), letter(gold), outcome(reading[1]), how[place] || "–"];
      return make("tr", {}, cells.map(function (content) { return make("td", {}, [content]); }));
    });
    const names = ["Reader", "Read", "Gold", "Outcome", "How"].map(function (name) { return make("th", {}, [name]); });
    return make("table", { class: "readings" }, [make("thead", {}, [make("tr", {}, names)]), make("tbody", {}, rows)]);
  }

  // ---- start ---------------------------------------------------------------------------------------------------

  // The address names either one response (its key) or filters ("model=...&suite=...").
  function follow() {
    const hash = location.hash.slice(1);
    if (hash && !hash.includes("=")) return followKey(hash);
    setState(Object.fromEntries(new URLSearchParams(hash)));
    opened = null;
    apply();
  }

  function followKey(key) {
    const row = data.keys.findIndex(function (short) { return key.startsWith(short) || short.startsWith(key); });
    if (!matches.length) { setState({}); opened = row; apply(); }
    first = Math.max(0, Math.floor(matches.indexOf(row) / PAGE) * PAGE);
    if (row < 0) {
      opened = null;
      return fill(part("response"), [make("p", { class: "missing" }, ["This section has no response " + key + "."])]);
    }
    open(row);
    showList();
  }

  function start(index) {
    data = index;
    buildFilters();
    part("back").addEventListener("click", function () { turn(-PAGE); });
    part("on").addEventListener("click", function () { turn(PAGE); });
    window.addEventListener("hashchange", follow);
    part("status").hidden = true;
    part("browser").hidden = false;
    follow();
  }

  window.medpsyResponses = { index: start, chunk: arrived };

  document.addEventListener("DOMContentLoaded", function () {
    root = document.getElementById("responses");
    if (!root) return;
    load("index.js", function () { part("status").textContent = "The responses are missing; build the report again."; });
  });
})();
