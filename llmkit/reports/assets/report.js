// Build the page from the data in it. Texts of users are inserted as text, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const page = document.getElementById("page");
const { runs } = data;
const several = runs.length > 1;

/** A score, or an end of its interval, with two decimals. */
function score(value) {
  return value === null || value === undefined ? "" : value.toFixed(2);
}

const percent = (p) => `${(100 * p).toFixed(1)} %`;

// ------------------------------------------------------------------------------- theme

const themes = ["auto", "light", "dark"];
const button = document.getElementById("theme");

function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  button.textContent = `theme: ${name}`;
  button.value = name;
}
button.addEventListener("click", () => {
  setTheme(themes[(themes.indexOf(button.value) + 1) % themes.length]);
});
setTheme("auto");

// ------------------------------------------------------------------------------ tables

/** A box that scrolls sideways if its table is too wide, with a hint below it. */
function scrolling(name, content) {
  const box = make("div", { class: "scroll" }, content);
  new ResizeObserver(() => {
    const overflows = box.scrollWidth > box.clientWidth + 1;
    box.classList.toggle("overflows", overflows);
    if (!overflows) return ["tabindex", "role", "aria-label"].forEach((each) => box.removeAttribute(each));
    box.setAttribute("tabindex", 0); // so that arrow keys scroll it
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", name);
  }).observe(box);
  return make("div", {}, box, make("small", { class: "hint" }, "the table continues to the right \u2192"));
}

/** A table that is sorted by a click on a column; cells are texts or {text, note, value, run, shade, share}. */
function table(name, header, rows) {
  const body = make("tbody");
  const cells = rows.map((row) => row.map((cell) => (cell !== null && typeof cell === "object" ? cell : { text: cell ?? "" })));
  const lines = cells.map((row) => make("tr", {}, ...row.map((cell, column) => {
    const place = column ? make("td") : make("th", { scope: "row" });
    place.append(cell.run === undefined || cell.run === null ? cell.text : key(look(cell.run), cell.text));
    if (cell.note) place.append(make("small", {}, cell.note));
    if (cell.shade) {
      place.className = "shaded";
      place.style = `--shade: ${cell.shade}; --share: ${cell.share}%`;
    }
    return place;
  })));
  body.append(...lines);
  const head = make("tr");
  header.forEach((title, column) => {
    const place = make("th", { scope: "col" });
    const sort = make("button", { type: "button" }, title);
    sort.addEventListener("click", () => {
      const rising = place.getAttribute("aria-sort") === "descending";
      for (const other of head.children) other.removeAttribute("aria-sort");
      place.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const worth = (index) => cells[index][column].value ?? cells[index][column].text;
      const order = [...lines.keys()].sort((a, b) => {
        const [x, y] = [worth(a), worth(b)];
        const less = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
        return rising ? less : -less;
      });
      body.append(...order.map((index) => lines[index]));
    });
    place.append(title ? sort : "");
    head.append(place);
  });
  return scrolling(name, make("table", {}, make("thead", {}, head), body));
}

// ---------------------------------------------------------------------------- building

function section(title, ...content) {
  const kept = content.flat().filter(Boolean);
  if (kept.length) page.append(...(title ? [make("h2", {}, title)] : []), ...kept);
}

/** Content of one run; with several runs, folded below the name of the run. */
function ofRun(run, ...content) {
  if (!several || !content.length) return content;
  return [make("details", {}, make("summary", {}, key(look(runs.indexOf(run)), run.label)), ...content)];
}

/** A list of [name, value] pairs. */
function list(pairs) {
  const result = make("dl");
  for (const [name, value] of pairs) {
    if (value !== null && value !== undefined && value !== "") {
      result.append(make("dt", {}, name), make("dd", {}, Array.isArray(value) ? value.join(", ") : String(value)));
    }
  }
  return result;
}

/** Group runs by content: [[content, runs]]. */
function shared(contentOf) {
  const found = new Map();
  for (const run of runs) {
    const content = contentOf(run);
    const text = JSON.stringify(content);
    if (!found.has(text)) found.set(text, [content, []]);
    found.get(text)[1].push(run);
  }
  return [...found.values()];
}

/** The heading of content that only some runs share. */
const sharedBy = (group, groups) => (groups.length > 1 ? [make("h3", {}, group.map((run) => run.label).join("; "))] : []);

// ----------------------------------------------------------------------------- summary

function when(run) {
  const date = new Date(run.started ?? NaN);
  return isNaN(date) ? "" : date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

function duration(seconds) {
  if (typeof seconds !== "number") return "";
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${Math.round(seconds % 60)} s` : `${seconds.toFixed(1)} s`;
}

const state = (run) =>
  run.state === "finished" ? `finished in ${duration(run.seconds)}` : run.state === "training"
    ? `training, ${run.progress}` : `stopped at ${run.progress}`;

const size = (bytes) => `${(bytes / 1e9).toFixed(2)} GB`;

/** What the run took, next to what had been predicted. */
function costs(run) {
  const { step_seconds: steps, peak_bytes: peak } = run.costs;
  return [
    steps ? `optimizer steps ${duration(steps.actual)}, predicted ${duration(steps.predicted)}` : "",
    peak ? `memory ${size(peak.actual)}, predicted ${size(peak.predicted)}` : "",
  ];
}

function about(run) {
  const facts = [
    run.name, run.task, `from ${run.model}`, when(run), state(run),
    run.finished ? `${number(run.num_rows)} test rows` : "", run.version ? `created with llmkit ${run.version}` : "",
    ...costs(run),
  ];
  return make("p", { class: "about" }, ...facts.filter(Boolean).map((text) => make("span", {}, text)));
}

/** The run with the best deciding score; null if the scores cannot be compared. */
function best() {
  const comparable = runs.every((run) => run.task === runs[0].task && run.metric === runs[0].metric);
  const finished = runs.filter((run) => typeof run.scores[run.main]?.[run.metric] === "number");
  if (!comparable || finished.length < 2) return null;
  const sign = runs[0].higher_is_better ? 1 : -1;
  const value = (run) => sign * run.scores[run.main][run.metric];
  return finished.reduce((one, other) => (value(other) > value(one) ? other : one));
}

const shown = (value) => (Array.isArray(value) ? value.join(", ") : value === null ? "" : String(value));

/** A table with a row per run: deciding score, difference from the untuned model, settings that differ. */
function overview() {
  const settings = Object.entries(data.differing);
  const metrics = [...new Set(runs.map((run) => run.metric_title))];
  const lines = runs.map((run, index) => {
    const value = run.scores[run.main]?.[run.metric];
    const ends = run.intervals[run.main]?.[run.metric];
    const { difference, p } = run.difference ?? {};
    return [
      { text: run.name, run: index, value: index },
      ...metrics.map((title) => title !== run.metric_title ? "" : {
        text: score(value), note: ends ? ends.map(score).join(" to ") : "", value: value ?? -Infinity,
      }),
      { text: difference === undefined ? "" : `${difference > 0 ? "+" : ""}${score(difference)}`, value: difference ?? -Infinity },
      { text: typeof p !== "number" ? "" : p < 0.001 ? "< 0.001" : p.toFixed(3), value: p ?? Infinity },
      ...settings.map(([, values]) => ({ text: shown(values[index]), value: values[index] ?? "" })),
      state(run), { text: when(run), value: run.started ?? "" },
    ];
  });
  return table("Runs", ["run", ...metrics, "vs. untuned", "p", ...settings.map(([name]) => name), "state", "started"], lines);
}

function summary() {
  if (!several) {
    page.append(make("p", { class: "headline" }, runs[0].verdict), about(runs[0]));
    return;
  }
  const winner = data.same_rows ? best() : null;
  if (!data.same_rows) page.append(make("p", { class: "headline" }, "The runs were scored on different test rows, so their scores cannot be compared."));
  if (winner) page.append(make("p", { class: "about" }, `best of ${runs.length} runs: ${winner.label}`), make("p", { class: "headline" }, winner.verdict));
  page.append(overview());
}

// ------------------------------------------------------------------------------ scores

/** A score and, below it, its interval. */
function scoreCell(scores, intervals, name) {
  const [value, ends] = [(scores ?? {})[name], (intervals ?? {})[name]];
  return { text: score(value), value: value ?? -Infinity, note: ends ? ends.map(score).join(" to ") : "" };
}

function scoreTable(of) {
  const title = `${of.set === "test" ? "" : `${of.set}, `}${number(of.num_rows)} rows${new Set(runs.map((run) => run.task)).size > 1 ? `, ${of.task}` : ""}`;
  const names = [...new Set(of.entries.flatMap((entry) => Object.keys(entry.scores)))];
  const lines = of.entries.map((entry) => [
    { text: entry.label, run: several ? entry.run : null }, ...names.map((name) => scoreCell(entry.scores, entry.intervals, name)),
  ]);
  const hasIntervals = of.entries.some((entry) => Object.keys(entry.intervals ?? {}).length);
  const note = of.num_rows < data.min_rows && !hasIntervals ? `No intervals for fewer than ${data.min_rows} rows.`
    : `Below each score: its ${data.level} interval, unless all resamples score the same.`;
  return [make("h3", {}, title), table(title, ["", ...names], lines), make("p", { class: "faint" }, `${note} ${of.signature}`)];
}

/** Counts, shaded by their share of the row; correct predictions have a color of their own. */
function confusion(run) {
  if (!run.confusion) return [];
  const { labels, counts } = run.confusion;
  const lines = counts.map((row, i) => {
    const total = row.reduce((sum, count) => sum + count, 0);
    return [labels[i], ...row.map((count, j) => ({
      text: String(count), value: count, note: total ? `${Math.round((100 * count) / total)} %` : "",
      shade: i === j ? "var(--run-0)" : "var(--missing)", share: total ? Math.round((50 * count) / total) : 0,
    }))];
  });
  return ofRun(run, make("h3", {}, "Confusion matrix: true labels (rows), predicted labels (columns)"), table("Confusion matrix", ["", ...labels], lines));
}

// Names of diagnostics on the page; n-grams are those of llmkit/scoring/diagnostics.py.
const DIAGNOSTICS = {
  "stopped by itself": "ended with end-of-text",
  "length, of the references'": "words, relative to the references",
  repeated: "repeated 4-grams",
  "copied from the prompt": "4-grams copied from the prompt",
  "found in training texts": "8-grams found in the training texts",
};

function diagnostics() {
  const found = runs.filter((run) => Object.keys(run.diagnostics).length);
  if (!found.length) return null;
  const names = [...new Set(found.flatMap((run) => Object.keys(run.diagnostics)))];
  const header = several ? found.map((run) => run.label) : ["%"];
  return table("Generated texts", ["", ...header], names.map((name) => [
    `${DIAGNOSTICS[name] ?? name}${several ? ", %" : ""}`, ...found.map((run) => ({ text: score(run.diagnostics[name]), value: run.diagnostics[name] ?? -Infinity })),
  ]));
}

function groupTables(run) {
  return ofRun(run, ...Object.entries(run.groups).filter(([, groups]) => groups.length).map(([name, groups]) => {
    const names = Object.keys(groups[0].scores);
    return table(name, [name, "rows", ...names], groups.map((each) => [
      each.label, { text: String(each.rows), value: each.rows },
      ...names.map((of) => ({ text: score(each.scores[of]), value: each.scores[of] ?? -Infinity })),
    ]));
  }));
}

function exportTables(run) {
  const cells = (line) => line.map((cell) => { const [text, note] = cell.split("\n"); return { text, note }; });
  return ofRun(run, ...run.exports.map((each) => table(`${each.rows} test rows`, each.header, each.lines.map(cells))));
}

// ------------------------------------------------------------------------------ curves

function curves(width) {
  const of = (points, name) => points.filter((p) => typeof p[name] === "number").map((p) => [p.step, p[name]]);
  const series = (kind, name) => runs.map((run, index) => ({
    ...look(index), label: several ? run.label : "", points: of(run[kind], name), best: kind === "validations" ? run.best_step : null,
  }));
  const loss = (kind, name) => chart(width, { title: `${name} loss`, up: "nats per token" }, series(kind, "loss"));
  const losses = several ? [loss("steps", "training"), loss("validations", "validation")] : [
    chart(width, { title: "loss", up: "nats per token" }, [
      { ...series("steps", "loss")[0], label: "training" },
      { ...series("validations", "loss")[0], ...look(1), label: "validation" },
    ]),
  ];
  const metrics = new Map(runs.filter((run) => run.metric !== "loss").map((run) => [run.metric, run.metric_title]));
  return [
    ...losses,
    ...[...metrics].map(([name, title]) => chart(width, { title: `${title} on the validation rows`, up: title }, series("validations", name))),
    chart(width, { title: "learning rate" }, series("steps", "learning_rate")),
    chart(width, { title: "gradient norm" }, series("steps", "grad_norm")),
    chart(width, { title: "training speed", up: "tokens per second" }, series("steps", "tokens_per_second")),
  ];
}

/** Charts of all predictions. */
function views(width) {
  const series = (points) => runs.map((run, index) => ({ ...look(index), label: several ? run.label : "", points: points(run) }));
  return [
    scatter(width, { title: "length of predictions and references", along: "words of the reference", up: "words of the prediction" }, series((run) => run.lengths)),
    chart(width, { title: "probability of the expected tokens", along: "probability (%)", up: "% of all tokens" }, series((run) => run.certainty)),
  ];
}

// ------------------------------------------------------------------------------- page

summary();
section("Scores", ...data.tables.map(scoreTable));
section(several ? "Confusion matrices" : "", ...runs.map(confusion));
section("Curves", figures(curves));
section("Samples", ...runs.map(samples));
section("Predictions", ...runs.map(predictions));
section("All predictions", figures(views));
section("Generated texts", diagnostics());
section("Scores by group", ...runs.map(groupTables));
const rows = shared((run) => ({ findings: run.findings, notes: run.notes, data: Object.entries(run.facts).filter(([name]) => name.startsWith("data.")) }));
section("Exports", ...runs.map(exportTables));
section("Data", ...rows.map(([content, group]) => [
  ...sharedBy(group, rows), ...[...content.findings, ...content.notes].map((text) => make("p", {}, text)), list(content.data),
]));
const folded = (title, pairs) => (pairs.length ? make("details", {}, make("summary", {}, title), list(pairs)) : null);
const common = Object.entries(runs[0].recipe).filter(([name]) => !(name in data.differing));
const versions = shared((run) => Object.entries(run.facts).filter(([name]) => !name.startsWith("data.")));
section("Settings and versions", folded(several ? "settings that all runs share" : "all settings", common),
  ...versions.map(([content, group]) => [...sharedBy(group, versions), folded("versions and devices", content)]));
redraws.forEach((draw) => draw());

// ------------------------------------------------------------------------------ reload

const STORAGE_KEY = `llmkit-report ${location.pathname}`; // scroll position, theme and open sections, kept while the page reloads itself
const folds = () => [...document.querySelectorAll("details")];

function remember() {
  const open = folds().flatMap((fold, index) => (fold.open ? [index] : []));
  sessionStorage.setItem(STORAGE_KEY, JSON.stringify({ top: scrollY, left: scrollX, theme: button.value, open }));
}

function recall() {
  const { top, left, theme, open } = JSON.parse(sessionStorage.getItem(STORAGE_KEY) ?? "null") ?? {};
  if (top === undefined) return;
  setTheme(theme);
  folds().forEach((fold, index) => { fold.open = open.includes(index); });
  history.scrollRestoration = "manual";
  scrollTo(left, top);
}

if (data.reload_seconds) {
  page.prepend(make("p", { class: "about", role: "status" }, `This page reloads itself while ${several ? "the runs are" : "the run is"} training.`));
  setInterval(() => {
    if (String(getSelection())) return; // not while text is selected
    try { remember(); } catch { /* as above */ }
    location.reload();
  }, 1000 * data.reload_seconds);
}
try {
  recall();
  if (!data.reload_seconds) sessionStorage.removeItem(STORAGE_KEY);
} catch { /* the browser has no storage for local files */ }
