// Predictions next to their references, with the differences marked.

const MIN_COMMON_SHARE = 0.3; // of the words, for differences to be marked word by word

/** Align the words of two texts by their longest common subsequence: {share, first, second}; share: of common words; first, second: [[part, is common]] of each text. */
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

/** A prediction and its nearest reference side by side; differing words are marked if enough words are common. */
function pair(text, references) {
  if (!references.length) return [column("prediction", text)];
  const aligned = references.map((reference) => [align(text, reference), reference]);
  const [nearest, reference] = aligned.reduce((one, other) => (other[0].share > one[0].share ? other : one));
  const marked = nearest.share >= MIN_COMMON_SHARE && nearest.share < 1;
  const others = references.filter((other) => other !== reference);
  return [
    make("div", { class: "pair" },
      column("prediction", text, marked ? nearest.first : null, "ins"),
      column(others.length ? "nearest reference" : "reference", reference, marked ? nearest.second : null, "del")),
    ...others.map((other) => column("other reference", other)),
  ];
}

/** The expected tokens, shaded by how improbable they are, and the least probable ones in numbers. */
function expected(tokens) {
  const line = make("pre");
  line.append(...tokens.map(([text, p]) => make("span", {
    class: p < 0.1 ? "token unlikely" : "token", style: `--doubt:${Math.round(60 * (1 - p))}%`, title: percent(p),
  }, text)));
  const least = [...tokens].sort((a, b) => a[1] - b[1]).slice(0, 3);
  const examples = least.map(([text, p]) => `\u201c${text.trim() || text}\u201d ${percent(p)}`).join(", ");
  return make("details", {}, make("summary", {}, "probabilities of the expected tokens"), line,
    make("small", {}, `least probable: ${examples}`));
}

function prediction(row, name) {
  const notes = [`id ${row.id}`];
  if (typeof row.score === "number") notes.push(`${name} ${score(row.score)}`);
  if (row.ended === false) notes.push("stopped at the maximum length");
  const article = make("article", {}, make("small", {}, notes.join(", ")));
  article.append(make("pre", { class: "prompt", tabindex: 0 }, row.prompt), ...pair(row.prediction, row.references));
  if (row.expected_tokens?.length && row.expected_tokens.every(([, p]) => p !== null)) article.append(expected(row.expected_tokens));
  if (row.probabilities) {
    const likeliest = Object.entries(row.probabilities).sort((a, b) => b[1] - a[1]).slice(0, 5);
    article.append(make("small", {}, likeliest.map(([label, p]) => `${label} ${percent(p)}`).join(", ")));
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

/** Sampled validation rows: a table with a row per sample and a column per validation. */
function samples(run) {
  const { steps, rows, num_validations: total } = run.samples;
  if (!rows.length) return [];
  const text = (value, ...notes) => make("td", {}, make("pre", {}, value.trim() ? value : make("small", {}, "(empty)")), ...notes);
  const header = ["prompt", "expected", ...steps.map((step) => `step ${number(step)}`)].map((title, index) => make("th", { scope: "col" }, title,
    ...(index > 1 && steps[index - 2] === run.best_step ? [make("small", {}, "best weights")] : [])));
  const lines = rows.map((row) => make("tr", {},
    make("th", { scope: "row" }, make("pre", { class: "prompt", tabindex: 0 }, row.prompt)),
    text(row.references.join(" | ")),
    ...row.predictions.map((each) => each === null ? make("td") : text(each.text,
      ...(each.p === null ? [] : [make("small", {}, percent(each.p))])))));
  const table = make("table", { class: "samples" }, make("thead", {}, make("tr", {}, ...header)), make("tbody", {}, ...lines));
  const some = steps.length < total ? [make("p", { class: "faint" }, `${steps.length} of ${number(total)} validations; samples.jsonl has all of them.`)] : [];
  return ofRun(run, scrolling("Samples", table), ...some);
}
