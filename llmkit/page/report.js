// Draws the page out of the data in it. Texts of users go in as text only, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const page = document.getElementById("page");
const { runs } = data;
const several = runs.length > 1;

/** A score, or the ends of its interval: always with as many digits. */
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

/** A box that scrolls sideways where its table is too wide, and says so. */
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
  return make("div", {}, box, make("small", { class: "hint" }, "the table goes on to the right \u2192"));
}

/** A table whose columns sort by a click; cells are texts or {text, note, value, run, shade, share}. */
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
  if (kept.length) page.append(make("h2", {}, title), ...kept);
}

/** Content that belongs to one run: folded away below the run's name where there are several. */
function ofRun(run, ...content) {
  if (!several || !content.length) return content;
  return [make("details", {}, make("summary", {}, key(look(runs.indexOf(run)), run.label)), ...content)];
}

/** Pairs of a name and a value, as a list. */
function list(pairs) {
  const result = make("dl");
  for (const [name, value] of pairs) {
    if (value !== null && value !== undefined && value !== "") {
      result.append(make("dt", {}, name), make("dd", {}, Array.isArray(value) ? value.join(", ") : String(value)));
    }
  }
  return result;
}

/** Runs with the same content: [[content, runs]]. */
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

/** Headings for content that several runs may share. */
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

function about(run) {
  const told = [
    run.name, run.task, `from ${run.model}`, when(run), state(run),
    run.finished ? `${number(run.num_rows)} test rows` : "", run.version ? `made by llmkit ${run.version}` : "",
  ];
  return make("p", { class: "about" }, ...told.filter(Boolean).map((text) => make("span", {}, text)));
}

/** The run with the best deciding score, where that can be compared. */
function best() {
  const alike = runs.every((run) => run.task === runs[0].task && run.metric === runs[0].metric);
  const finished = runs.filter((run) => typeof run.scores[run.main]?.[run.metric] === "number");
  if (!alike || finished.length < 2) return null;
  const sign = runs[0].higher_is_better ? 1 : -1;
  const value = (run) => sign * run.scores[run.main][run.metric];
  return finished.reduce((one, other) => (value(other) > value(one) ? other : one));
}

const shown = (value) => (Array.isArray(value) ? value.join(", ") : value === null ? "" : String(value));

/** A line a run: the settings that differ, the deciding score, and what it gained. */
function overview() {
  const settings = Object.entries(data.differing);
  const metrics = [...new Set(runs.map((run) => run.metric_title))];
  const lines = runs.map((run, index) => {
    const value = run.scores[run.main]?.[run.metric];
    const ends = run.intervals[run.main]?.[run.metric];
    const { difference, p } = run.difference ?? {};
    return [
      { text: run.name, run: index, value: index },
      ...settings.map(([, values]) => ({ text: shown(values[index]), value: values[index] ?? "" })),
      ...metrics.map((title) => title !== run.metric_title ? "" : {
        text: score(value), note: ends ? ends.map(score).join(" to ") : "", value: value ?? -Infinity,
      }),
      { text: difference === undefined ? "" : `${difference > 0 ? "+" : ""}${score(difference)}`, value: difference ?? -Infinity },
      { text: typeof p !== "number" ? "" : p < 0.001 ? "< 0.001" : p.toFixed(3), value: p ?? Infinity },
      state(run), { text: when(run), value: run.started ?? "" },
    ];
  });
  return table("Runs", ["run", ...settings.map(([name]) => name), ...metrics, "over untuned", "p", "state", "started"], lines);
}

function summary() {
  if (!several) {
    page.append(make("p", { class: "headline" }, runs[0].verdict), about(runs[0]));
    return;
  }
  const winner = best();
  if (winner) page.append(make("p", { class: "about" }, `best of ${runs.length} runs: ${winner.label}`), make("p", { class: "headline" }, winner.verdict));
  page.append(overview());
}

// ------------------------------------------------------------------------------ scores

/** A score, and under it its interval. */
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
  const note = of.num_rows < data.min_rows ? `No interval: fewer than ${data.min_rows} rows are too few to estimate one.`
    : `Below each score: its ${data.level} interval.`;
  return [make("h3", {}, title), table(title, ["", ...names], lines), make("p", { class: "faint" }, `${note} ${of.signature}`)];
}

/** Counts, shaded by their share of the row; the right ones in another colour. */
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
  return ofRun(run, make("h3", {}, "True labels (rows) and predicted labels (columns)"), table("Confusion matrix", ["", ...labels], lines));
}

function diagnostics() {
  const found = runs.filter((run) => Object.keys(run.diagnostics).length);
  if (!found.length) return null;
  const names = [...new Set(found.flatMap((run) => Object.keys(run.diagnostics)))];
  const header = several ? found.map((run) => run.label) : ["%"];
  return table("Generated texts", ["", ...header], names.map((name) => [
    several ? `${name}, %` : name, ...found.map((run) => ({ text: score(run.diagnostics[name]), value: run.diagnostics[name] ?? -Infinity })),
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

/** What all predictions look like, of each run. */
function views(width) {
  const series = (points) => runs.map((run, index) => ({ ...look(index), label: several ? run.label : "", points: points(run) }));
  return [
    scatter(width, { title: "length of predictions and references", along: "words of the reference", up: "words of the prediction" }, series((run) => run.lengths)),
    chart(width, { title: "probability of the expected tokens", along: "probability (%)", up: "% of all tokens" }, series((run) => run.certainty)),
  ];
}

// ------------------------------------------------------------------------- predictions

const NEAR = 0.3; // share of common words from which on a difference is shown word by word

/** Words of two texts, matched by a longest common subsequence: {share, first, second}, the latter [[part, is common]]. */
function align(one, other) {
  const [a, b] = [one, other].map((text) => text.split(/(\s+)/).filter(Boolean));
  if (a.length * b.length > 1e6) return { share: 0 };
  const longest = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      longest[i][j] = a[i] === b[j] ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
    }
  }
  const [first, second] = [[], []];
  let [i, j, common] = [0, 0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      if (/\S/.test(a[i])) common++;
      first.push([a[i++], true]);
      second.push([b[j++], true]);
    } else if (j < b.length && (i === a.length || longest[i][j + 1] >= longest[i + 1][j])) second.push([b[j++], false]);
    else first.push([a[i++], false]);
  }
  const words = Math.max(...[a, b].map((parts) => parts.filter((part) => /\S/.test(part)).length), 1);
  return { share: common / words, first, second };
}

function column(name, text, parts, mark) {
  const body = make("pre");
  if (parts) body.append(...parts.map(([part, common]) => (common || !/\S/.test(part) ? part : make(mark, {}, part))));
  else body.append(text.trim() ? text : make("small", {}, "(empty)"));
  return make("div", {}, make("small", {}, name), body);
}

/** Prediction and nearest reference side by side; words that differ are marked where most are common. */
function pair(said, references) {
  const aligned = references.map((reference) => [align(said, reference), reference]);
  const [nearest, reference] = aligned.reduce((one, other) => (other[0].share > one[0].share ? other : one));
  const marked = nearest.share >= NEAR && nearest.share < 1;
  const others = references.filter((each) => each !== reference);
  return [
    make("div", { class: "pair" },
      column("prediction", said, marked ? nearest.first : null, "ins"),
      column(others.length ? "nearest reference" : "reference", reference, marked ? nearest.second : null, "del")),
    ...others.map((other) => column("or", other)),
  ];
}

/** The tokens that were to be said, the less probable the darker; the least probable in numbers. */
function expected(tokens) {
  const line = make("pre");
  line.append(...tokens.map(([text, p]) => make("span", {
    class: p < 0.1 ? "token unlikely" : "token", style: `--doubt:${Math.round(60 * (1 - p))}%`, title: percent(p),
  }, text)));
  const least = [...tokens].sort((a, b) => a[1] - b[1]).slice(0, 3);
  const told = least.map(([text, p]) => `\u201c${text.trim() || text}\u201d ${percent(p)}`).join(", ");
  return make("details", {}, make("summary", {}, "how probable each expected token was"), line,
    make("small", {}, `least probable: ${told}`));
}

function prediction(row, name) {
  const told = [`id ${row.id}`];
  if (typeof row.score === "number") told.push(`${name} ${score(row.score)}`);
  if (row.ended === false) told.push("did not stop by itself");
  const article = make("article", {}, make("small", {}, told.join(", ")));
  article.append(make("pre", { class: "prompt", tabindex: 0 }, row.prompt), ...pair(row.prediction, row.references));
  if (row.expected_tokens?.length && row.expected_tokens.every(([, p]) => p !== null)) article.append(expected(row.expected_tokens));
  if (row.probabilities) {
    const each = Object.entries(row.probabilities).sort((a, b) => b[1] - a[1]).slice(0, 5);
    article.append(make("small", {}, each.map(([label, p]) => `${label} ${percent(p)}`).join(", ")));
  }
  return article;
}

function predictions(run) {
  const parts = [];
  for (const [title, rows] of Object.entries(run.predictions)) {
    if (!rows.length) continue;
    const fold = make("details", {}, make("summary", {}, `${title} (${rows.length})`));
    fold.append(...rows.map((row) => prediction(row, run.metric_title)));
    parts.push(fold);
  }
  if (parts.length && !several) parts[0].open = true;
  return ofRun(run, ...parts);
}

// ------------------------------------------------------------------------------- page

summary();
section("Scores", ...data.tables.map(scoreTable), ...runs.map(confusion));
section("Curves", figures(curves));
section("Predictions", ...runs.map(predictions));
section("All predictions", figures(views));
section("Generated texts", diagnostics());
section("Scores by group", ...runs.map(groupTables));
const rows = shared((run) => ({ findings: run.findings, notes: run.notes, data: Object.entries(run.facts).filter(([name]) => name.startsWith("data.")) }));
section("Data", ...rows.map(([content, group]) => [
  ...sharedBy(group, rows), ...[...content.findings, ...content.notes].map((text) => make("p", {}, text)), list(content.data),
]));
const folded = (title, pairs) => (pairs.length ? make("details", {}, make("summary", {}, title), list(pairs)) : null);
const common = Object.entries(runs[0].recipe).filter(([name]) => !(name in data.differing));
const versions = shared((run) => Object.entries(run.facts).filter(([name]) => !name.startsWith("data.")));
section("Settings and versions", folded(several ? "settings that all runs share" : "every setting", common),
  ...versions.map(([content, group]) => [...sharedBy(group, versions), folded("versions and devices", content)]));
redraws.forEach((draw) => draw());

// ------------------------------------------------------------------------------ reload

const MEMORY = `llmkit-report ${location.pathname}`; // where the reader was, kept while the page reloads itself
const folds = () => [...document.querySelectorAll("details")];

function remember() {
  const open = folds().flatMap((fold, index) => (fold.open ? [index] : []));
  sessionStorage.setItem(MEMORY, JSON.stringify({ top: scrollY, left: scrollX, theme: button.value, open }));
}

function recall() {
  const { top, left, theme, open } = JSON.parse(sessionStorage.getItem(MEMORY) ?? "null") ?? {};
  if (top === undefined) return;
  setTheme(theme);
  folds().forEach((fold, index) => { fold.open = open.includes(index); });
  history.scrollRestoration = "manual";
  scrollTo(left, top);
}

if (data.reload_seconds) {
  page.prepend(make("p", { class: "about", role: "status" }, `This page reloads itself while ${several ? "the runs go" : "the run goes"} on.`));
  setInterval(() => {
    if (String(getSelection())) return; // not while the reader copies something
    try { remember(); } catch { /* as above */ }
    location.reload();
  }, 1000 * data.reload_seconds);
}
try {
  recall();
  if (!data.reload_seconds) sessionStorage.removeItem(MEMORY);
} catch { /* a browser that keeps nothing for files */ }
