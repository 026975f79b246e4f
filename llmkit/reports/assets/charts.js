"use strict";
// Elements and charts: curves and points with their axes.

/** An HTML element with attributes and children (elements or texts). */
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

const NUM_COLOURS = 8;
const DASHES = ["", "8 3", "2 3", "9 3 2 3"];

/** Color and dashes of a run's curves: different for the first 32 runs; runs with similar colors differ in
 * their dashes. */
const look = (index) => ({
  colour: `var(--run-${index % NUM_COLOURS})`,
  dash: DASHES[(index + Math.floor(index / NUM_COLOURS)) % DASHES.length],
});

/** A text that may be broken after each = _ or , as in train.learning_rate=0.001. */
const breakable = (text) => text.split(/(?<=[=_,])/).flatMap((part, index) => (index ? [make("wbr"), part] : [part]));

/** An entry of a legend. */
function key(series, text) {
  const line = svg("line", {
    x1: 0, x2: 24, y1: 5, y2: 5, "stroke-width": 2.5, style: `stroke:${series.colour}`, "stroke-dasharray": series.dash ?? "",
  });
  return make("span", { class: "key" }, svg("svg", { width: 24, height: 10, "aria-hidden": "true" }, line), make("span", {}, ...breakable(text)));
}

const keys = (series) => series.length > 1 || series[0].label ? series.map((each) => key(each, each.label)) : [];

// ------------------------------------------------------------------------------- axes

const HEIGHT = 280, LEFT = 56, BOTTOM = 42, TOP = 26, RIGHT = 14;
const FIGURE = 416, GAP = 24; // smallest width of a chart, as in page.css

/** About `count` round numbers between two ends. */
function ticks(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw);
  const first = Math.ceil(low / step) * step;
  return Array.from({ length: Math.floor((high - first) / step + 1e-9) + 1 }, (_, i) => first + i * step);
}

/** An empty chart with labeled axes, and functions that map values to its coordinates. */
function frame(width, about, [left, right], [low, high], along, up) {
  if (low === high) [low, high] = [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  const x = (value) => LEFT + ((value - left) / (right - left || 1)) * (width - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - BOTTOM - TOP);
  const drawing = svg("svg", { width, height: HEIGHT, role: "img", "aria-label": about });
  for (const value of ticks(low, high, 5)) {
    drawing.append(
      svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, number(value)),
    );
  }
  for (const value of ticks(left, right, Math.min(6, width / 80))) {
    if (Number.isInteger(value)) {
      drawing.append(svg("text", { x: x(value), y: HEIGHT - BOTTOM + 17, "text-anchor": "middle" }, number(value)));
    }
  }
  drawing.append(
    svg("text", { x: width - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, along),
    svg("text", { x: 2, y: 13 }, up),
  );
  return { drawing, x, y };
}

const extent = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);

// ---------------------------------------------------------------------------- figures

/** A scatter plot with a diagonal; series: [{label, colour, points: [[x, y]]}]. */
function scatter(width, { title, along, up }, series) {
  series = series.filter((each) => each.points.length);
  if (!series.length) return null;
  const most = Math.max(...series.flatMap((each) => each.points.map((p) => Math.max(...p))));
  const { drawing, x, y } = frame(width, title, [0, most], [0, most], along, up);
  drawing.append(svg("line", { class: "cursor", x1: x(0), y1: y(0), x2: x(most), y2: y(most) }));
  for (const each of series) {
    for (const p of each.points) {
      drawing.append(svg("circle", { class: "point", cx: x(p[0]), cy: y(p[1]), r: 3, style: `fill:${each.colour}` }));
    }
  }
  const plain = series.map((each) => ({ ...each, dash: "" }));
  return make("figure", {}, make("figcaption", {}, title), drawing, make("output", {}, ...keys(plain)));
}

const nearest = (points, step) =>
  points.reduce((best, p) => (Math.abs(p[0] - step) < Math.abs(best[0] - step) ? p : best));

/** A line chart; series: [{label, colour, dash, best, points: [[x, y]]}]; best: x of the best weights. */
function chart(width, { title, along = "optimizer step", up = "" }, series) {
  series = series.filter((each) => each.points.length);
  if (!series.length) return null;
  const all = series.flatMap((each) => each.points);
  const xs = all.map((p) => p[0]);
  const [left, right] = extent(xs);
  const about = `${title}, ${along} ${left} to ${right}; use the arrow keys to move along it`;
  const { drawing, x, y } = frame(width, about, [left, right], extent(all.map((p) => p[1])), along, up);
  drawing.setAttribute("tabindex", 0);
  for (const each of series) {
    const points = each.points.map((p) => `${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`).join(" ");
    drawing.append(svg("polyline", { class: "curve", "stroke-dasharray": each.dash ?? "", style: `stroke:${each.colour}`, points }));
    if (each.points.length < 30) {
      for (const p of each.points) {
        drawing.append(svg("circle", { cx: x(p[0]), cy: y(p[1]), r: 2.5, style: `fill:${each.colour}` }));
      }
    }
  }
  const marked = series.filter((each) => each.points.some((p) => p[0] === each.best));
  for (const each of marked) {
    const [step, value] = each.points.find((p) => p[0] === each.best);
    const [cx, cy] = [x(step), y(value)];
    drawing.append(svg("path", { class: "best", d: `M${cx} ${cy - 7}l7 7l-7 7l-7 -7z` }, svg("title", {}, `best weights, step ${step}`)));
  }
  const cursor = svg("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  drawing.append(cursor);
  const shown = make("output");
  const steps = [...new Set(xs)].sort((a, b) => a - b);
  let at = steps.length - 1;
  const show = () => {
    const step = steps[at];
    cursor.setAttribute("x1", x(step));
    cursor.setAttribute("x2", x(step));
    cursor.setAttribute("visibility", "visible");
    shown.replaceChildren(`${along.replace("optimizer ", "")} ${number(step)}`, ...series.map((each) =>
      key(each, `${each.label} ${number(nearest(each.points, step)[1])}`)));
  };
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const wanted = left + (event.clientX - box.left - LEFT) / (width - LEFT - RIGHT) * (right - left);
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
  shown.append(...keys(series), ...(marked.length ? [make("span", {}, "\u25C7 best weights")] : []));
  return make("figure", {}, make("figcaption", {}, title), drawing, shown);
}

const redraws = [];

/** A block of charts. build(width in pixels): returns the charts; called again when the width changes. */
function figures(build) {
  if (!build(FIGURE).some(Boolean)) return null;
  const block = make("div", { class: "charts" });
  let drawn = 0;
  const draw = () => {
    const columns = Math.max(1, Math.floor((block.clientWidth + GAP) / (FIGURE + GAP)));
    const width = Math.floor((block.clientWidth - (columns - 1) * GAP) / columns);
    if (width === drawn || width <= 0) return;
    drawn = width;
    block.replaceChildren(...build(width).filter(Boolean));
  };
  redraws.push(draw);
  new ResizeObserver(draw).observe(block);
  return block;
}
