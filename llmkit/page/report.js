"use strict";
// Draws the page out of the data in it. Texts of users go in as text only, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const page = document.getElementById("page");
const colour = (index) => `var(--run-${index % 4})`;

/** An element with attributes and children: elements, or texts. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function number(value) {
  if (value === null || value === undefined) return "";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(2);
  return value.toLocaleString("en", { maximumFractionDigits: size < 1 ? 4 : 2 });
}

/** A score, or the ends of its interval: always with as many digits. */
function score(value) {
  return value === null || value === undefined ? "" : value.toFixed(2);
}

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

/** A table whose columns sort by a click; cells are texts or {text, note, value}. */
function table(header, rows) {
  const body = make("tbody");
  const cells = rows.map((row) => row.map((cell) => (typeof cell === "object" ? cell : { text: cell })));
  const lines = cells.map((row) => {
    const line = make("tr");
    for (const cell of row) {
      const place = make("td", {}, cell.text);
      if (cell.note) place.append(make("small", {}, cell.note));
      line.append(place);
    }
    return line;
  });
  body.append(...lines);
  const head = make("tr");
  header.forEach((name, column) => {
    const place = make("th", { scope: "col" });
    const sort = make("button", { type: "button" }, name);
    sort.addEventListener("click", () => {
      const rising = place.getAttribute("aria-sort") === "descending";
      for (const other of head.children) other.removeAttribute("aria-sort");
      place.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const key = (index) => cells[index][column].value ?? cells[index][column].text;
      const order = [...lines.keys()].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        const less = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
        return rising ? less : -less;
      });
      body.append(...order.map((index) => lines[index]));
    });
    place.append(name ? sort : "");
    head.append(place);
  });
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), body));
}

// ------------------------------------------------------------------------------ curves

const WIDTH = 520, HEIGHT = 260, LEFT = 56, BOTTOM = 28, TOP = 10, RIGHT = 12;

/** Round numbers between two ends, about so many. */
function ticks(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw);
  const first = Math.ceil(low / step) * step;
  return Array.from({ length: Math.floor((high - first) / step + 1e-9) + 1 }, (_, i) => first + i * step);
}

/** An empty drawing with its axes, and where values belong in it. */
function frame(title, [left, right], [low, high]) {
  if (low === high) [low, high] = [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  const x = (value) => LEFT + ((value - left) / (right - left || 1)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - BOTTOM - TOP);
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
  for (const value of ticks(low, high, 5)) {
    drawing.append(
      svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, number(value)),
    );
  }
  for (const value of ticks(left, right, 6)) {
    if (Number.isInteger(value)) {
      drawing.append(svg("text", { x: x(value), y: HEIGHT - 8, "text-anchor": "middle" }, number(value)));
    }
  }
  return { drawing, x, y };
}

const extent = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);

const keys = (series) => series.map((each) =>
  make("span", { class: "key", style: `--colour:${each.colour}; margin-right:1em` }, each.label));

/** A figure of points; series: [{label, colour, points: [[x, y]]}]. A line shows where both are equal. */
function scatter(title, series) {
  series = series.filter((each) => each.points.length);
  if (!series.length) return null;
  const most = Math.max(...series.flatMap((each) => each.points.map((p) => Math.max(...p))));
  const { drawing, x, y } = frame(title, [0, most], [0, most]);
  drawing.append(svg("line", { class: "cursor", x1: x(0), y1: y(0), x2: x(most), y2: y(most) }));
  for (const each of series) {
    for (const p of each.points) {
      drawing.append(svg("circle", { class: "point", cx: x(p[0]), cy: y(p[1]), r: 3, style: `fill:${each.colour}` }));
    }
  }
  return make("figure", {}, make("figcaption", {}, title), drawing, make("output", {}, ...keys(series)));
}

/** A figure of curves; series: [{label, colour, points: [[x, y]]}]; along: what x is. */
function chart(title, series, along = "step") {
  series = series.filter((each) => each.points.length);
  if (!series.length) return null;
  const all = series.flatMap((each) => each.points);
  const xs = all.map((p) => p[0]);
  const [left, right] = extent(xs);
  const about = `${title}, ${along} ${left} to ${right}; arrow keys move along it`;
  const { drawing, x, y } = frame(about, [left, right], extent(all.map((p) => p[1])));
  drawing.setAttribute("tabindex", 0);
  for (const each of series) {
    const points = each.points.map((p) => `${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`).join(" ");
    drawing.append(svg("polyline", {
      class: each.dashed ? "curve dashed" : "curve", style: `stroke:${each.colour}`, points,
    }));
    if (each.points.length < 30) {
      for (const p of each.points) {
        drawing.append(svg("circle", { cx: x(p[0]), cy: y(p[1]), r: 2.5, style: `fill:${each.colour}` }));
      }
    }
  }
  const cursor = svg("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  drawing.append(cursor);
  const shown = make("output");
  const steps = [...new Set(xs)].sort((a, b) => a - b);
  let at = steps.length - 1;
  const nearest = (points, step) =>
    points.reduce((best, p) => (Math.abs(p[0] - step) < Math.abs(best[0] - step) ? p : best));
  const show = () => {
    const step = steps[at];
    cursor.setAttribute("x1", x(step));
    cursor.setAttribute("x2", x(step));
    cursor.setAttribute("visibility", "visible");
    shown.replaceChildren(`${along} ${number(step)}`, ...series.map((each) =>
      make("span", { class: "key", style: `--colour:${each.colour}; margin-left:1em` },
        `${each.label} ${number(nearest(each.points, step)[1])}`)));
  };
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const wanted = left + (((event.clientX - box.left) / box.width) * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT) * (right - left);
    at = steps.reduce((best, step, i) => (Math.abs(step - wanted) < Math.abs(steps[best] - wanted) ? i : best), 0);
    show();
  });
  drawing.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -steps.length, End: steps.length }[event.key];
    if (!move) return;
    event.preventDefault();
    at = Math.max(0, Math.min(steps.length - 1, at + move));
    show();
  });
  shown.append(...keys(series));
  return make("figure", {}, make("figcaption", {}, title), drawing, shown);
}

// --------------------------------------------------------------------------- sections

function section(title, ...content) {
  const kept = content.filter(Boolean);
  if (kept.length) page.append(make("h2", {}, title), ...kept);
}

/** What is said of each run: [[name, value]], as a list. */
function list(pairs) {
  const result = make("dl");
  for (const [name, value] of pairs) {
    if (value !== null && value !== undefined && value !== "") {
      result.append(make("dt", {}, name), make("dd", {}, String(value)));
    }
  }
  return result;
}

function named(run) {
  return data.runs.length > 1 ? [make("h3", {}, run.name)] : [];
}

/** A score, and under it its interval. */
function scoreCell(scores, intervals, name) {
  const [value, ends] = [(scores ?? {})[name], (intervals ?? {})[name]];
  return { text: score(value), value: value ?? -Infinity, note: ends ? ends.map(score).join(" to ") : "" };
}

/** Of a run, or of one of its further test sets: both have scores and intervals. */
function scoreTable(of) {
  const names = [...new Set(Object.values(of.scores).flatMap(Object.keys))];
  const rows = Object.entries(of.scores).map(([label, scores]) => [
    label, ...names.map((name) => scoreCell(scores, of.intervals[label], name)),
  ]);
  return table(["", ...names], rows);
}

function sideBySide() {
  if (data.runs.length < 2) return null;
  const names = [...new Set(data.runs.flatMap((run) => Object.keys(run.scores[run.main] ?? {})))];
  return table(["run", ...names], data.runs.map((run) => [
    run.name, ...names.map((name) => scoreCell(run.scores[run.main], run.intervals[run.main], name)),
  ]));
}

function curves() {
  const of = (points, x, y) => points.filter((p) => typeof p[y] === "number").map((p) => [p[x], p[y]]);
  const series = (kind, name, label = "") => data.runs.map((run, index) => ({
    label: [data.runs.length > 1 ? run.name : "", label].filter(Boolean).join(" ") || name,
    colour: colour(index), points: of(run[kind], "step", name),
  }));
  const losses = [
    ...series("steps", "loss", "training"),
    ...data.runs.map((run, index) => ({
      label: [data.runs.length > 1 ? run.name : "", "validation (dashed)"].filter(Boolean).join(" "),
      colour: colour(index), dashed: true, points: of(run.validations, "step", "loss"),
    })),
  ];
  const metrics = [...new Set(data.runs.flatMap((run) => run.metric === "loss" ? [] : [run.metric]))];
  const figures = [
    chart("loss, nats per token", losses),
    ...metrics.map((name) => chart(`${name} on the validation rows`, series("validations", name))),
    chart("learning rate", series("steps", "learning_rate")),
    chart("norm of the gradient", series("steps", "grad_norm")),
    chart("tokens per second", series("steps", "tokens_per_second")),
  ].filter(Boolean);
  return figures.length ? make("div", { class: "charts" }, ...figures) : null;
}

/** What all predictions look like, of each run. */
function views() {
  const series = (points) => data.runs.map((run, index) => ({ label: run.name, colour: colour(index), points: points(run) }));
  const figures = [
    scatter("words of the prediction (up) for words of the reference (across)", series((run) => run.lengths)),
    chart("expected tokens by their probability under the model, % of all", series((run) => run.certainty), "probability (%)"),
  ].filter(Boolean);
  return figures.length ? make("div", { class: "charts" }, ...figures) : null;
}

/** Words of a text with those that the other lacks marked: a longest common subsequence. */
function difference(text, other, mark) {
  const [a, b] = [text.split(/(\s+)/).filter(Boolean), other.split(/(\s+)/).filter(Boolean)];
  const result = document.createDocumentFragment();
  if (a.length * b.length > 1e6) {
    result.append(text);
    return result;
  }
  const best = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      best[i][j] = a[i] === b[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
    }
  }
  let [i, j] = [0, 0];
  while (i < a.length) {
    if (j < b.length && a[i] === b[j]) { result.append(a[i]); i++; j++; }
    else if (j < b.length && best[i][j + 1] >= best[i + 1][j]) j++;
    else { result.append(/\S/.test(a[i]) ? make(mark, {}, a[i]) : a[i]); i++; }
  }
  return result;
}

const percent = (p) => `${(100 * p).toFixed(1)} %`;

/** The tokens that were to be said, the less probable the darker; the least probable in numbers. */
function expected(tokens) {
  const line = make("pre", {});
  line.append(...tokens.map(([text, p]) => make("span", {
    class: p < 0.1 ? "token unlikely" : "token", style: `--doubt:${Math.round(60 * (1 - p))}%`, title: percent(p),
  }, text)));
  const least = [...tokens].sort((a, b) => a[1] - b[1]).slice(0, 3);
  const told = least.map(([text, p]) => `\u201c${text.trim() || text}\u201d ${percent(p)}`).join(", ");
  return make("details", {}, make("summary", {}, "how probable each expected token was"), line,
    make("small", {}, `least probable: ${told}`));
}

function prediction(row, name) {
  const [reference] = row.references;
  const told = [`id ${row.id}`];
  if (typeof row.score === "number") told.push(`${name} ${score(row.score)}`);
  if (row.ended === false) told.push("did not stop by itself");
  const article = make("article", {}, make("small", {}, told.join(", ")));
  article.append(make("pre", { class: "prompt", tabindex: 0 }, row.prompt));
  const said = make("pre", {}, make("small", {}, "prediction "));
  said.append(difference(row.prediction, reference, "ins"));
  const wanted = make("pre", {}, make("small", {}, "reference "));
  wanted.append(difference(reference, row.prediction, "del"));
  article.append(said, wanted);
  for (const other of row.references.slice(1)) {
    article.append(make("pre", {}, make("small", {}, "or "), other));
  }
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
    fold.append(...rows.map((row) => prediction(row, run.metric)));
    parts.push(fold);
  }
  if (parts.length) parts[0].open = true;
  return parts;
}

function confusion(run) {
  if (!run.confusion) return [];
  const { labels, counts } = run.confusion;
  const rows = counts.map((row, i) => [labels[i], ...row.map((count) => ({ text: String(count), value: count }))]);
  return [make("h3", {}, "true label (rows), chosen label (columns)"), table(["", ...labels], rows)];
}

function flat(value, prefix = "") {
  return Object.entries(value).flatMap(([key, inner]) =>
    inner !== null && typeof inner === "object" && !Array.isArray(inner)
      ? flat(inner, `${prefix}${key}.`) : [[`${prefix}${key}`, Array.isArray(inner) ? inner.join(", ") : inner]]);
}

// ------------------------------------------------------------------------------- page

for (const run of data.runs) {
  const state = run.finished ? `${run.num_rows} test rows` : "not finished";
  page.append(make("p", {}, make("strong", {}, run.name), ` ${run.task}, from ${run.model}; ${state}`));
}
section("Side by side", sideBySide());
section("Scores", ...data.runs.flatMap((run) => Object.keys(run.scores).length ? [
  ...named(run), scoreTable(run),
  make("p", { class: "faint" }, `Under a score its ${data.level} interval. ${run.signature}`), ...confusion(run),
  ...Object.entries(run.sets).flatMap(([name, of]) => [make("h3", {}, `${name}, ${of.num_rows} rows`), scoreTable(of)]),
] : []));
section("Generated texts", ...data.runs.flatMap((run) => Object.keys(run.diagnostics).length ? [
  ...named(run), table(["", "%"], Object.entries(run.diagnostics).map(([name, value]) => [name, { text: score(value), value }])),
] : []));
section("Curves", curves());
for (const run of data.runs) {
  section(data.runs.length > 1 ? `Predictions: ${run.name}` : "Predictions", ...predictions(run));
}
section("All predictions", views());
section("Scores by group", ...data.runs.flatMap((run) => Object.entries(run.groups).flatMap(([name, groups], index) => {
  const names = Object.keys(groups[0].scores);
  return [...(index ? [] : named(run)), table([name, "rows", ...names], groups.map((each) => [
    each.label, { text: String(each.rows), value: each.rows },
    ...names.map((of) => ({ text: score(each.scores[of]), value: each.scores[of] ?? -Infinity })),
  ]))];
})));
section("Data", ...data.runs.flatMap((run) => [
  ...named(run), ...run.findings.map((text) => make("p", {}, text)), list(flat(run.facts.data ?? {})),
]));
section("Settings and versions", ...data.runs.flatMap((run) => {
  const fold = make("details", {}, make("summary", {}, `${run.name}: every setting`), list(flat(run.recipe)));
  const { data: rows, ...facts } = run.facts;
  return [fold, make("details", {}, make("summary", {}, `${run.name}: versions`), list(flat(facts)))];
}));
