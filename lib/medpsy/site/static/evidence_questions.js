// Responses to questions with options: what each reader read in them. The page around it is in evidence.js.
(function () {
  "use strict";

  const LETTERS = "ABCDEFGHIJ";
  const { make, row: tableRow, outcome, block, response, twice } = window.medpsyEvidence.parts;

  function letter(option) { return option < 0 ? "–" : LETTERS[option]; }
  function goldOf(data, row) { return data.tasks[data.task[row]][3]; }
  function suiteOf(data, row) { return data.suites[data.tasks[data.task[row]][0]][1]; }

  // The reading of one row by the chosen reader: [reader, outcome, option], or undefined.
  function readingOf(data, row, reader) {
    return data.readings[row].find(function (reading) { return data.readers[reading[0]][0] === reader; });
  }

  function filters(data, shared) {
    const alone = data.readers.length < 2;
    return [
      shared.model, shared.suite,
      {
        name: "reader", label: "Reader", choices: data.readers.flat().map(twice), fallback: data.readers.length ? data.readers[0][0] : "", hidden: alone,
        fits: function (row, value) { return readingOf(data, row, value) !== undefined; },
      },
      {
        name: "outcome", label: "Outcome", choices: data.outcomes.flat().map(twice),
        fits: function (row, value, want) {
          const reading = readingOf(data, row, want.reader);
          return reading !== undefined && data.outcomes[reading[1]][0] === value;
        },
      },
      Object.assign(shared.differ, { label: "Readers", hidden: alone }), shared.run,
      Object.assign(shared.search, { name: "question", label: "Question" }),
    ];
  }

  function cells(data, row, want) {
    const reading = readingOf(data, row, want.reader);
    return [suiteOf(data, row), String(data.run[row]), letter(reading[2]), letter(goldOf(data, row)), outcome(data.outcomes[reading[1]][0])];
  }

  // task: [subject, stem, context, options]; text[4]: how each reader read it.
  function show(data, row, text, task, want) {
    const gold = goldOf(data, row), reading = readingOf(data, row, want.reader) || data.readings[row][0];
    return [
      block("Question", task[1]), task[2] ? block("Context", task[2]) : null, optionList(task[3], gold, reading[2]),
      readings(data, row, gold, text[4]),
    ].concat(response(text[0], text[1], text[2]));
  }

  function optionList(options, gold, chosen) {
    const items = options.map(function (option, place) {
      const marks = [place === gold ? "gold" : "", place === chosen ? "chosen" : ""].filter(Boolean);
      const signs = marks.map(function (mark) { return make("span", { class: "mark", "data-mark": mark }, [mark]); });
      return make("li", { class: marks.join(" ") }, [make("b", {}, [LETTERS[place] + "."]), " ", option, " "].concat(signs));
    });
    return make("section", {}, [make("h3", {}, ["Options"]), make("ul", { class: "options" }, items)]);
  }

  function readings(data, row, gold, how) {
    const rows = data.readings[row].map(function (reading, place) {
      return tableRow("td", [data.readers[reading[0]][0], letter(reading[2]), letter(gold), outcome(data.outcomes[reading[1]][0]), how[place] || "–"]);
    });
    const head = tableRow("th", ["Reader", "Read", "Gold", "Outcome", "How"]);
    return make("table", { class: "readings" }, [make("thead", {}, [head]), make("tbody", {}, rows)]);
  }

  window.medpsyEvidence.kinds.responses = {
    headings: ["Question", "First words", "Model", "Suite", "Run", "Read", "Gold", "Outcome"],
    search: "question", same: "All responses to this question",
    filters: filters, cells: cells, show: show, facts: function (data, row, task) { return [task[0]]; },
  };
})();
