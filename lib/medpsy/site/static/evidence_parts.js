// Pieces that pages of evidence are made of. Every text from a model or a benchmark becomes a text node, never markup.
window.medpsyEvidence.parts = (function () {
  "use strict";

  function make(tag, attributes, children) {
    const element = document.createElement(tag);
    for (const name in attributes || {}) element.setAttribute(name, attributes[name]);
    for (const child of children || []) if (child !== null) element.append(child); // strings become text nodes
    return element;
  }

  function fill(element, children) { element.replaceChildren.apply(element, children.filter(Boolean)); }

  function row(tag, contents) {
    return make("tr", {}, contents.map(function (content) { return make(tag, {}, [content]); }));
  }

  function outcome(name) { return make("span", { class: "outcome", "data-outcome": name }, [name]); }

  function block(title, text) {
    return make("section", {}, [make("h3", {}, [title]), make("pre", { class: "text" }, [text])]);
  }

  // The response in the order it is read: reasoning folded, then the answer or why there is none.
  function response(reasoning, answer, finish) {
    const folded = reasoning ? make("details", { class: "reasoning" }, [
      make("summary", {}, ["Reasoning (" + reasoning.length.toLocaleString("en") + " characters)"]), make("pre", { class: "text" }, [reasoning]),
    ]) : null;
    return [folded, block("Answer", answer || "None" + (WHY[finish] || "."))];
  }

  const WHY = { length: ": the token limit came first.", failed: ": the model did not respond." };

  // The filters that every kind of evidence has: {name, label, choices, fits(row, value, wanted), fallback, hidden}.
  function commonFilters(data) {
    const runs = Array.from(new Set(data.run)).sort(function (a, b) { return a - b; }).map(String);
    const words = data.tasks.map(function (task) { return (task[1] + " " + task[2]).toLowerCase(); });
    const names = data.tasks.map(function (task) { return (data.suites[task[0]][0] + "/" + task[1]).toLowerCase(); });
    const suite = function (row) { return data.suites[data.tasks[data.task[row]][0]][0]; };
    return {
      model: { name: "model", label: "Model", choices: data.models, fits: function (row, value) { return data.models[data.model[row]][0] === value; } },
      suite: { name: "suite", label: "Suite", choices: data.suites, fits: function (row, value) { return suite(row) === value; } },
      run: { name: "run", label: "Run", choices: runs.map(twice), fits: function (row, value) { return String(data.run[row]) === value; } },
      differ: {
        name: "differ", choices: [["yes", "differ"], ["no", "do not differ"]],
        fits: function (row, value) { return (data.differ[row] > 0) === (value === "yes"); },
      },
      search: { // the whole name of a task finds it alone
        fits: function (row, value) {
          const text = value.toLowerCase(), task = data.task[row];
          return names[task] === text || words[task].includes(text);
        },
      },
    };
  }

  function twice(name) { return [name, name]; }

  // A field of the page's filters; without `choices` it is searched in.
  function field(filter) {
    if (!filter.choices) return make("input", { "data-part": filter.name, type: "search", placeholder: "id or first words" });
    const options = (filter.fallback ? [] : [["", filter.all || "all"]]).concat(filter.choices);
    return make("select", { "data-part": filter.name }, options.map(function (choice) { return make("option", { value: choice[0] }, [choice[1]]); }));
  }

  return { make: make, fill: fill, row: row, outcome: outcome, block: block, response: response, twice: twice, commonFilters: commonFilters, field: field };
})();
