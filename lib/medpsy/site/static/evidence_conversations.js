// Responses in conversations: every criterion with what each judge said of it. The page around it is in evidence.js.
(function () {
  "use strict";

  const OUTCOMES = ["met", "not met", "unjudged"]; // as numbered in the data
  const { make, outcome, block, response, twice } = window.medpsyEvidence.parts;

  function taskOf(data, row) { return data.tasks[data.task[row]]; } // [suite, id, first words, theme]
  function themeOf(data, row) { return data.themes[taskOf(data, row)[3]]; }
  function points(number) { return String(number).replace("-", "−"); }
  function score(value) { return value === null ? "–" : points(value.toFixed(1)); }

  // What the wanted judge, or all, decided in sum: [judge, met, not met, unjudged, score].
  function judgedBy(data, row, judge) {
    return data.judged[row].filter(function (sum) { return !judge || data.judges[sum[0]][0] === judge; });
  }

  function filters(data, shared) {
    const alone = data.judges.length < 2;
    return [
      shared.model, shared.suite,
      { name: "theme", label: "Theme", choices: data.themes, fits: function (row, value) { return themeOf(data, row)[0] === value; } },
      {
        name: "judge", label: "Judge", all: "any", choices: data.judges.flat().map(twice), hidden: alone,
        fits: function (row, value) { return judgedBy(data, row, value).length > 0; },
      },
      {
        name: "outcome", label: "Some criterion is", choices: OUTCOMES.map(twice),
        fits: function (row, value, want) {
          const place = 1 + OUTCOMES.indexOf(value);
          return judgedBy(data, row, want.judge).some(function (sum) { return sum[place] > 0; });
        },
      },
      Object.assign(shared.differ, { label: "Judges", hidden: alone }),
      { name: "finish", label: "Finish reason", choices: data.finishes.flat().map(twice), fits: function (row, value) { return data.finishes[data.finish[row]][0] === value; } },
      shared.run, Object.assign(shared.search, { name: "conversation", label: "Conversation" }),
    ];
  }

  function cells(data, row, want) {
    const sums = judgedBy(data, row, want.judge), suite = data.suites[taskOf(data, row)[0]][1];
    const scores = sums.map(function (sum) { return score(sum[4]); }).join(" / ");
    const met = sums.map(function (sum) { return String(sum[1]); }).join(" / ");
    return [suite, themeOf(data, row)[1], String(data.run[row]), scores, met, String(data.differ[row]), data.finishes[data.finish[row]][0]];
  }

  // task: [turns, criteria as [text, points, axis]]; text[4]: criterion -> verdicts as [judge, outcome, explanation].
  function show(data, row, text, task) {
    return [conversation(task[0])].concat(response(text[0], text[1], text[2]), [criteria(data, row, task[1], text[4], task[0] === null)]);
  }

  function conversation(turns) {
    if (turns === null) return make("section", {}, [make("h3", {}, ["Conversation"]), make("p", { class: "missing", "data-part": "withheld" }, [document.getElementById("evidence").dataset.note])]);
    const said = turns.map(function (turn) {
      return make("div", { class: "turn", "data-role": turn[0] }, [make("b", {}, [turn[0]]), make("pre", { class: "text" }, [turn[1]])]);
    });
    return make("section", {}, [make("h3", {}, ["Conversation"])].concat(said));
  }

  function criteria(data, row, rubric, said, withheld) {
    const sums = data.judged[row], judges = sums.map(function (sum) { return data.judges[sum[0]][0]; });
    const heads = [make("th", {}, ["Criterion"])].concat(sums.map(function (sum, place) { return judgeHead(judges[place], sum); }));
    const rows = rubric.map(function (criterion, place) {
      const verdicts = sums.map(function (sum, column) { return verdictCell(judges[column], said[place].filter(function (one) { return one[0] === sum[0]; })); });
      return make("tr", differs(said[place]) ? { class: "differ" } : {}, [criterionCell(criterion, place, withheld, differs(said[place]))].concat(verdicts));
    });
    const table = make("table", { class: "criteria" }, [make("thead", {}, [make("tr", {}, heads)]), make("tbody", {}, rows)]);
    return make("section", {}, [make("h3", {}, ["Criteria"]), make("div", { class: "criteria-scroll" }, [table])]);
  }

  function judgeHead(judge, sum) {
    const open = sum[3] ? ", " + sum[3] + " unjudged" : "";
    return make("th", {}, [judge, make("small", {}, [score(sum[4]) + " points: " + sum[1] + " met, " + sum[2] + " not met" + open])]);
  }

  function criterionCell(criterion, place, withheld, differ) {
    const marks = [make("b", { class: criterion[1] < 0 ? "points negative" : "points" }, [points(criterion[1]) + " points"]), " " + criterion[2]];
    if (differ) marks.push(" ", make("span", { class: "mark", "data-mark": "differ" }, ["judges differ"]));
    return make("td", {}, [make("div", {}, marks), make("p", {}, [withheld ? "Criterion " + (place + 1) + ", not shown" : criterion[0]])]);
  }

  function verdictCell(judge, verdicts) {
    const said = verdicts.map(function (one) {
      return make("div", {}, [outcome(OUTCOMES[one[1]]), one[2] ? make("p", {}, [one[2]]) : null]);
    });
    return make("td", { "data-judge": judge }, said.length ? said : ["–"]);
  }

  function differs(verdicts) {
    const outcomes = new Set(verdicts.map(function (one) { return one[1]; }));
    return outcomes.has(0) && outcomes.has(1);
  }

  window.medpsyEvidence.kinds.conversations = {
    headings: ["Conversation", "First words", "Model", "Suite", "Theme", "Run", "Score", "Met", "Differ", "Finish"],
    search: "conversation", same: "All responses in this conversation",
    filters: filters, cells: cells, show: show, facts: function (data, row) { return [themeOf(data, row)[1]]; },
  };
})();
