// Charts as plain data. `drawChart` turns what an explorer shows into a tree of SVG elements,
// {tag, attributes, children}, and needs no page: the picture for pages without scripts (still.js)
// and the tests are drawn by the same function as the live figure.

const counting = (count) => Array.from({ length: count }, (_, i) => i);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Three significant digits, as a person writes them.
function format(value) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "not a number" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text =
    size !== 0 && (size < 1e-4 || size >= 1e5)
      ? value.toExponential(1).replace(/\.0e/, "e").replace("e+", "e")
      : String(Number(value.toPrecision(3)));
  return text.replace(/-/g, "−");
}

// --- Axes --------------------------------------------------------------------------------------

// From a value to its position between the pixels `from` and `to`, and back; and the axis' ticks,
// which stand at least `room` pixels apart.
function makeAxis({ log, min, max, ticks }, from, to, room) {
  const [map, unmap] = log ? [Math.log10, (v) => 10 ** v] : [(v) => v, (v) => v];
  const [a, b] = [map(min), map(max)];
  const lowest = log ? min * 1e-9 : -Infinity;
  const count = Math.max(Math.abs(to - from) / room, 2);
  const axis = (value) => from + ((map(Math.max(value, lowest)) - a) / (b - a)) * (to - from);
  return Object.assign(axis, {
    log,
    min,
    max,
    invert: (pixel) => unmap(a + ((pixel - from) / (to - from)) * (b - a)),
    ticks: ticks ?? (log ? decades : nice)(min, max, count),
  });
}

function nice(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return counting(last - first + 1).map((i) => Number(((first + i) * step).toPrecision(12)));
}

function decades(low, high, count) {
  const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  if (last - first < 1) return [low, Math.sqrt(low * high), high];
  const every = Math.ceil((last - first + 1) / count);
  return counting(Math.floor((last - first) / every) + 1).map((i) => Number(`1e${first + i * every}`));
}

// --- Drawing -----------------------------------------------------------------------------------

const color = (name = "blue") => `var(--lr-${name})`;
const rounded = (value) => (typeof value === "number" ? Number(value.toFixed(2)) : value);
const draw = (tag, attributes, ...children) => ({
  tag,
  attributes: Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, rounded(value)])),
  children: children.flat(),
});
const path = (points) => `M${points.map((point) => point.map(rounded).join(",")).join("L")}`;
const visible = (y, value) => Number.isFinite(value) && (!y.log || value > 0);

// The line's pieces: it is interrupted where it has no value.
function drawLine(line, x, y) {
  const pieces = [[]];
  line.y.forEach((value, i) => {
    const piece = pieces.at(-1);
    if (!visible(y, value)) pieces.push([]);
    else if (line.stair && piece.length) piece.push([x(line.x[i]), piece.at(-1)[1]], [x(line.x[i]), y(value)]);
    else piece.push([x(line.x[i]), y(value)]);
  });
  const d = pieces.filter((piece) => piece.length).map(path).join("");
  return draw("path", { d, class: line.thin ? "lr-line lr-thin" : "lr-line", stroke: color(line.color), ...(line.faint ? { opacity: 0.35 } : {}) });
}

function drawBand({ low, high, color: name, ...line }, x, y) {
  const shown = line.x.map((_, i) => i).filter((i) => Number.isFinite(low[i]) && Number.isFinite(high[i]));
  const edge = (values) => shown.map((i) => [x(line.x[i]), y(values[i])]);
  return draw("path", { d: `${path([...edge(high), ...edge(low).reverse()])}Z`, class: "lr-band", fill: color(name) });
}

// Line labels stand at the lines' ends; those that would touch are pushed apart.
function drawLabels(lines, y, left, top, bottom) {
  const labels = lines
    .map((line) => ({ ...line, end: line.y.findLast((value) => visible(y, value)) }))
    .filter((line) => line.label && line.end !== undefined)
    .map((line) => ({ ...line, at: clamp(y(line.end), top, bottom) }))
    .sort((a, b) => a.at - b.at);
  labels.forEach((label, i) => {
    if (i) label.at = Math.max(label.at, labels[i - 1].at + 15);
  });
  let limit = bottom;
  for (const label of labels.reverse()) {
    label.at = Math.max(Math.min(label.at, limit), top + 4);
    limit = label.at - 15;
  }
  return labels.map((label) => draw("text", { x: left, y: label.at + 4, class: "lr-label", fill: color(label.color) }, label.label));
}

// A point's mark: what it means must not hang on its color alone.
const marks = {
  disk: [],
  cross: [[-1, -0.5], [-0.5, -1], [0, -0.5], [0.5, -1], [1, -0.5], [0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5], [-0.5, 1], [-1, 0.5], [-0.5, 0]],
  down: [[-1.1, -0.8], [1.1, -0.8], [0, 1.1]],
};

function drawMark({ mark = "disk", color: name }, x, y, size, attributes) {
  const corners = marks[mark].map(([right, down]) => [x + size * right, y + size * down]);
  const shape = corners.length ? ["path", { d: `${path(corners)}Z` }] : ["circle", { cx: x, cy: y, r: size }];
  return draw(shape[0], { ...shape[1], fill: color(name), ...attributes });
}

// What the chart shows, in words: the bars, or where each line begins, ends and turns, and the points
// that have a name.
function describe({ title, alt, x, lines = [], bars = [], points = [] }) {
  if (alt) return alt;
  const courses = lines.map((line) => {
    const known = counting(line.y.length).filter((i) => Number.isFinite(line.y[i]));
    const sorted = [...known].sort((i, j) => line.y[i] - line.y[j] || i - j);
    const corners = new Set([known[0], sorted[0], sorted.at(-1), known.at(-1)]);
    const places = [...corners].sort((i, j) => i - j).map((i) => `${format(line.y[i])} at ${format(line.x[i])}`);
    return `${line.label ? `${line.label}: ` : ""}${known.length ? places.join(", ") : "no value"}`;
  });
  const marked = points.filter((point) => point.name).map((point) => `${point.name}: ${format(point.y)} at ${format(point.x)}`);
  const said = [...courses, ...bars.map((bar) => `${bar.label}: ${bar.text ?? format(bar.value)}`), ...marked];
  return said.length ? `${title}, over ${x.label}. ${said.join("; ")}.` : title;
}

// One chart at its size in pixels. `x` and `y` have min and max; what lies outside is cut off.
function drawChart(spec, width) {
  const { height = 236, lines = [], bars = [], points = [], rules = [], handles = [], grab } = spec;
  const space = (texts) => 7.8 * Math.max(0, ...texts.map((text) => text.length));
  const named = lines.map((line) => line.label ?? "");
  const left = bars.length ? Math.min(8 + space(bars.map((bar) => bar.label)), width * 0.42) : 52;
  const right = width - (bars.length ? 62 : Math.max(14, Math.min(space(named) + 12, width * 0.34)));
  const [top, bottom] = [14, height - 42];
  const row = (bottom - top) / Math.max(bars.length, 1);
  const x = makeAxis(spec.x, left, right, spec.x.log ? 46 : 62);
  const y = bars.length ? Object.assign((i) => top + row * (i + 0.5), { ticks: [] }) : makeAxis(spec.y, bottom, top, 38);

  const axes = [
    x.ticks.map((tick) => [
      draw("line", { x1: x(tick), x2: x(tick), y1: top, y2: bottom }),
      draw("text", { x: x(tick), y: bottom + 16, "text-anchor": "middle" }, format(tick)),
    ]),
    y.ticks.map((tick) => [
      draw("line", { x1: left, x2: right, y1: y(tick), y2: y(tick) }),
      draw("text", { x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, format(tick)),
    ]),
    draw("text", { x: (left + right) / 2, y: height - 8, "text-anchor": "middle" }, spec.x.label),
  ].flat(2);
  const drawRule = (rule) =>
    rule.x === undefined
      ? draw("line", { x1: left, x2: right, y1: y(rule.y), y2: y(rule.y), class: "lr-rule" })
      : draw("line", { x1: x(rule.x), x2: x(rule.x), y1: top, y2: bottom, class: "lr-rule" });
  const inside = [
    rules.map(drawRule),
    lines.filter((line) => line.low).map((line) => drawBand(line, x, y)),
    lines.map((line) => drawLine(line, x, y)),
    rules.filter((rule) => rule.label).map((rule) => draw("text", { x: right - 6, y: y(rule.y) - 6, "text-anchor": "end", class: "lr-note" }, rule.label)),
  ].flat();
  const drawPoint = (point) =>
    drawMark(point, clamp(x(point.x), left, right), clamp(y(point.y), top, bottom), point.size ?? 4, { class: "lr-point" });
  // Below and to the left of their points, the highest first, and none on another.
  const drawNames = (named) =>
    named
      .filter((point) => point.name)
      .sort((a, b) => y(a.y) - y(b.y))
      .reduce((above, point) => [...above, { ...point, at: Math.max(y(point.y), (above.at(-1)?.at ?? -Infinity) + 14) }], [])
      .map(({ x: across, at, name, color: shade }) => draw("text", { x: x(across) - 8, y: at + 13, "text-anchor": "end", class: "lr-label", fill: color(shade) }, name));
  const drawBar = (bar, i) => {
    const thick = Math.min(24, row * 0.72);
    const length = x(clamp(bar.value, x.min, x.max)) - left;
    return [
      draw("rect", { x: left, y: y(i) - thick / 2, width: length, height: thick, rx: 2, fill: color(bar.color), class: "lr-bar" }),
      draw("text", { x: left - 7, y: y(i) + 4, "text-anchor": "end", class: "lr-tick" }, bar.label),
      draw("text", { x: left + length + 6, y: y(i) + 4, class: "lr-tick" }, bar.text ?? format(bar.value)),
    ];
  };
  const drawHandle = (handle, i) =>
    drawMark(handle, x(handle.x), y(handle.y), 5.5, {
      class: "lr-handle",
      tabindex: i === 0 ? 0 : -1,
      role: "slider",
      "aria-label": handle.label,
      "aria-orientation": "vertical",
      "aria-valuemin": handle.min,
      "aria-valuemax": handle.max,
      "aria-valuenow": handle.y.toPrecision(3),
      "data-handle": i,
    });
  // What a finger may touch: a strip around each handle, or else the whole plot.
  const strip = handles.length > 1 ? x(handles[1].x) - x(handles[0].x) : 0;
  const touch = (at, from, width, tall) => draw("rect", { x: at, y: from, width, height: tall, class: "lr-touch" });
  const touched = handles.length
    ? handles.map((handle) => touch(x(handle.x) - strip / 2, y(handle.y) - 23, strip, 46))
    : grab
      ? [touch(left, top, right - left, bottom - top)]
      : [];
  // An inner svg cuts off without an id, and ids would have to differ over the whole page.
  const frame = { x: left, y: top - 4, width: right - left, height: bottom - top + 8 };
  const svg = draw(
    "svg",
    { width, height, viewBox: `0 0 ${width} ${height}`, role: handles.length ? "group" : "img", "aria-label": describe(spec) },
    draw("g", { class: "lr-axes", "aria-hidden": "true" }, axes),
    draw("svg", { ...frame, viewBox: Object.values(frame).map(rounded).join(" ") }, inside),
    points.map(drawPoint),
    drawNames(points),
    bars.flatMap(drawBar),
    drawLabels(lines, y, right + 6, top, bottom),
    touched,
    handles.map(drawHandle),
  );
  return { ...svg, invert: (across, down) => [x.invert(clamp(across, left, right)), y.invert(down)] };
}
