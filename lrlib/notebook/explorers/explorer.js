// What all explorers share: controls, charts, and the state in the page's address.
//
// An explorer is {name, title, controls(state, data), view(state, data)}, both functions pure:
// controls lists the inputs, view says what to draw for their values. Nothing here touches the
// page before `render` is called, so the formulas can be tested without a browser. Text from an
// address or a data file reaches the page as text only, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

// --- Numbers -----------------------------------------------------------------------------------

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

const counting = (count) => Array.from({ length: count }, (_, i) => i);
const logarithmic = (control) => control.scale === "log";

// The value as the control allows it, whatever was given.
function checked(control, value) {
  if (control.kind === "select") {
    const known = control.options.some(([option]) => option === value);
    return known ? value : control.value;
  }
  if (control.kind === "check") {
    return value === true || value === "true" ? true : value === undefined ? control.value : false;
  }
  if (control.kind === "hidden") return control.parse(value);
  const blank = value === undefined || value === null || value === "";
  const number = blank ? NaN : Number(value);
  if (!Number.isFinite(number)) return control.value;
  const inside = Math.min(Math.max(number, control.min), control.max);
  if (logarithmic(control)) return Number(inside.toPrecision(3));
  const steps = Math.round((inside - control.min) / control.step);
  return Number((control.min + steps * control.step).toPrecision(12));
}

// Every control's value; which controls there are may depend on the values of others.
function settle(explorer, raw, data) {
  let state = raw;
  for (let pass = 0; pass < 3; pass += 1) {
    const given = state;
    const list = explorer.controls(given, data);
    state = Object.fromEntries(list.map((c) => [c.name, checked(c, given[c.name])]));
  }
  return state;
}

// --- The page's address ------------------------------------------------------------------------

// "#explorer-composer?steps=50&rate=0.2": an anchor, and the values that differ from the defaults.
function fromAddress(id, hash) {
  const [anchor, query] = hash.replace(/^#/, "").split("?");
  return anchor === id && query ? Object.fromEntries(new URLSearchParams(query)) : {};
}

function toAddress(id, explorer, state, data) {
  const defaults = settle(explorer, {}, data);
  const changed = Object.entries(state).filter(([name, value]) => value !== defaults[name]);
  const query = new URLSearchParams(changed.map(([name, value]) => [name, String(value)]));
  return `#${id}${changed.length ? `?${query}` : ""}`;
}

// --- Charts ------------------------------------------------------------------------------------

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function draw(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function extent(values, log) {
  const kept = values.filter((v) => Number.isFinite(v) && (!log || v > 0));
  if (!kept.length) return [log ? 0.1 : 0, 1];
  return [Math.min(...kept), Math.max(...kept)];
}

// A position for a value, and the ticks of the axis.
function makeAxis(spec, values, from, to) {
  const log = Boolean(spec.log);
  let [low, high] = extent(values, log);
  if (spec.min !== undefined) low = spec.min;
  if (spec.max !== undefined) high = spec.max;
  if (!(high > low)) [low, high] = log ? [low / 3, low * 3] : [low - 0.5, low + 0.5];
  const map = log ? Math.log10 : (v) => v;
  const [a, b] = [map(low), map(high)];
  const axis = (v) => from + ((map(Math.max(v, log ? low * 1e-9 : -Infinity)) - a) / (b - a)) * (to - from);
  axis.invert = (p) => {
    const v = a + ((p - from) / (to - from)) * (b - a);
    return log ? 10 ** v : v;
  };
  axis.domain = [low, high];
  axis.log = log;
  const room = Math.abs(to - from) / (spec.vertical ? 38 : log ? 46 : 62);
  axis.ticks = spec.ticks ?? (log ? decades(low, high, room) : nice(low, high, room));
  return axis;
}

function nice(low, high, room) {
  const raw = (high - low) / Math.max(room, 1);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) {
    ticks.push(Number((i * step).toPrecision(12)));
  }
  return ticks;
}

function decades(low, high, room) {
  const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  if (last - first < 1) return [low, Math.sqrt(low * high), high];
  const every = Math.max(1, Math.ceil((last - first + 1) / Math.max(room, 2)));
  const ticks = [];
  for (let e = first; e <= last; e += every) ticks.push(Number(`1e${e}`));
  return ticks;
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const color = (name) => `var(--lr-${name ?? "blue"})`;

// Line labels stand at the lines' ends; those that would touch are pushed apart.
function spread(labels, low, high, gap) {
  const sorted = [...labels].sort((a, b) => a.y - b.y);
  sorted.forEach((label, i) => {
    if (i) label.y = Math.max(label.y, sorted[i - 1].y + gap);
  });
  let limit = high;
  for (const label of sorted.reverse()) {
    label.y = Math.max(Math.min(label.y, limit), low);
    limit = label.y - gap;
  }
}

function drawLine(line, x, y, stair) {
  let path = "";
  let pen = "M";
  line.y.forEach((value, i) => {
    if (!Number.isFinite(value) || (y.log && value <= 0)) {
      pen = "M";
      return;
    }
    const [px, py] = [x(line.x[i]).toFixed(2), y(value).toFixed(2)];
    path += pen === "L" && stair ? `H${px}V${py}` : `${pen}${px} ${py}`;
    pen = "L";
  });
  return path;
}

let counter = 0;

// One chart as SVG, at its size in pixels. `move(patch)` is called when a handle is moved.
function drawChart(spec, width, move) {
  const height = spec.height ?? 236;
  const labelled = (spec.lines ?? []).filter((line) => line.label);
  const longest = Math.max(0, ...labelled.map((line) => line.label.length));
  const margin = {
    left: 52,
    right: longest ? Math.min(longest * 6.4 + 12, width * 0.34) : 14,
    top: 14,
    bottom: 42,
  };
  if (spec.bars) margin.left = Math.min(8 + 6.4 * Math.max(...spec.bars.map((b) => b.label.length)), width * 0.42);
  if (spec.bars) margin.right = 62;
  const [right, bottom] = [width - margin.right, height - margin.bottom];
  const lines = spec.lines ?? [];
  const xs = [...lines.flatMap((l) => l.x), ...(spec.points ?? []).map((p) => p.x)];
  const ys = [
    ...lines.flatMap((l) => [...l.y, ...(l.low ?? []), ...(l.high ?? [])]),
    ...(spec.points ?? []).map((p) => p.y),
  ];
  const values = (spec.bars ?? []).map((bar) => bar.value);
  const x = makeAxis(spec.x, spec.bars ? values : xs, margin.left, right);
  const y = spec.bars
    ? makeAxis({ min: -0.5, max: spec.bars.length - 0.5, ticks: [] }, [], margin.top, bottom)
    : makeAxis({ ...spec.y, vertical: true }, ys, bottom, margin.top);
  const clip = `lr-clip-${(counter += 1)}`;
  const svg = draw("svg", {
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    role: spec.handles ? "group" : "img",
    "aria-label": spec.title,
  });
  svg.dataset.x = JSON.stringify([...x.domain, margin.left, right, x.log]);
  svg.dataset.y = JSON.stringify([...y.domain, bottom, margin.top, y.log]);
  const frame = { x: margin.left, y: margin.top - 4, width: right - margin.left, height: bottom - margin.top + 8 };
  svg.append(draw("defs", {}, draw("clipPath", { id: clip }, draw("rect", frame))));

  const axes = draw("g", { class: "lr-axes", "aria-hidden": "true" });
  for (const tick of x.ticks) {
    axes.append(draw("line", { x1: x(tick), x2: x(tick), y1: margin.top, y2: bottom }));
    axes.append(draw("text", { x: x(tick), y: bottom + 16, "text-anchor": "middle" }, format(tick)));
  }
  for (const tick of y.ticks) {
    axes.append(draw("line", { x1: margin.left, x2: right, y1: y(tick), y2: y(tick) }));
    axes.append(draw("text", { x: margin.left - 7, y: y(tick) + 4, "text-anchor": "end" }, format(tick)));
  }
  const middle = (margin.left + right) / 2;
  axes.append(draw("text", { x: middle, y: height - 8, "text-anchor": "middle" }, spec.x.label));
  svg.append(axes);

  const plot = draw("g", { "clip-path": `url(#${clip})` });
  for (const rule of spec.rules ?? []) {
    const at = rule.x === undefined ? y(rule.y) : x(rule.x);
    const ends = rule.x === undefined ? { x1: margin.left, x2: right, y1: at, y2: at } : { x1: at, x2: at, y1: margin.top, y2: bottom };
    plot.append(draw("line", { ...ends, class: "lr-rule" }));
  }
  for (const line of lines) {
    if (!line.low) continue;
    const there = line.x.map((_, i) => i).filter((i) => Number.isFinite(line.low[i]) && Number.isFinite(line.high[i]));
    const up = there.map((i) => `${x(line.x[i]).toFixed(2)} ${y(line.high[i]).toFixed(2)}`);
    const down = there.map((i) => `${x(line.x[i]).toFixed(2)} ${y(line.low[i]).toFixed(2)}`).reverse();
    if (up.length) plot.append(draw("path", { d: `M${[...up, ...down].join("L")}Z`, class: "lr-band", fill: color(line.color) }));
  }
  for (const line of lines) {
    const path = draw("path", { d: drawLine(line, x, y, line.stair), class: "lr-line", stroke: color(line.color) });
    if (line.label) path.dataset.line = line.label;
    if (line.dash) path.setAttribute("stroke-dasharray", "5 4");
    if (line.thin) path.classList.add("lr-thin");
    plot.append(path);
  }
  for (const rule of spec.rules ?? []) {
    if (!rule.label) continue;
    const place =
      rule.x === undefined
        ? { x: margin.left + 6, y: y(rule.y) - 6 }
        : { x: x(rule.x) + 5, y: margin.top + 10 };
    plot.append(draw("text", { ...place, class: "lr-note" }, rule.label));
  }
  for (const point of spec.points ?? []) {
    const place = { cx: clamp(x(point.x), margin.left, right), cy: clamp(y(point.y), margin.top, bottom) };
    plot.append(draw("circle", { ...place, r: point.size ?? 4, fill: color(point.color), class: "lr-point" }));
  }
  svg.append(plot);

  (spec.bars ?? []).forEach((bar, i) => {
    const thick = Math.min(24, ((bottom - margin.top) / spec.bars.length) * 0.72);
    const start = x(x.log ? x.domain[0] : Math.max(0, x.domain[0]));
    const length = Math.max(x(clamp(bar.value, ...x.domain)) - start, 0);
    const rect = draw("rect", { x: start, y: y(i) - thick / 2, width: length, height: thick, rx: 2, fill: color(bar.color) });
    rect.dataset.bar = bar.label;
    svg.append(rect);
    svg.append(draw("text", { x: margin.left - 7, y: y(i) + 4, "text-anchor": "end", class: "lr-tick" }, bar.label));
    svg.append(draw("text", { x: start + length + 6, y: y(i) + 4, class: "lr-tick" }, bar.text ?? format(bar.value)));
  });

  const labels = labelled.flatMap((line) => {
    const last = line.y.findLastIndex((v) => Number.isFinite(v) && (!y.log || v > 0));
    if (last < 0) return [];
    return [{ text: line.label, color: line.color, y: clamp(y(line.y[last]), margin.top, bottom) }];
  });
  spread(labels, margin.top + 4, bottom, 15);
  for (const label of labels) {
    svg.append(draw("text", { x: right + 6, y: label.y + 4, class: "lr-label", fill: color(label.color) }, label.text));
  }
  (spec.handles ?? []).forEach((handle, i) => svg.append(makeHandle(handle, i, x, y, svg, move)));
  return svg;
}

// A point that is dragged, or moved by the arrow keys.
function makeHandle(handle, index, x, y, svg, move) {
  const dot = draw("circle", {
    cx: x(handle.x),
    cy: y(handle.y),
    r: 5,
    class: "lr-handle",
    tabindex: index === 0 ? 0 : -1,
    role: "slider",
    "aria-label": handle.label,
    "aria-orientation": "vertical",
    "aria-valuemin": handle.min,
    "aria-valuemax": handle.max,
    "aria-valuenow": Number(handle.y.toPrecision(3)),
    fill: color(handle.color),
  });
  dot.dataset.handle = index;
  const set = (value) => move(handle.set(clamp(value, handle.min, handle.max)), index);
  dot.addEventListener("keydown", (event) => {
    const up = { ArrowUp: 1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[event.key];
    const aside = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (up) set(handle.y + up * handle.step);
    else if (aside) svg.querySelector(`[data-handle="${index + aside}"]`)?.focus();
    else return;
    event.preventDefault();
  });
  dot.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    dot.focus();
    // The chart is drawn anew while the pointer moves: the window keeps listening.
    const top = svg.getBoundingClientRect().top;
    const scroll = window.scrollY;
    const drag = (e) => set(y.invert(e.clientY - top + window.scrollY - scroll));
    const stop = () => window.removeEventListener("pointermove", drag);
    window.addEventListener("pointermove", drag);
    for (const end of ["pointerup", "pointercancel"]) window.addEventListener(end, stop, { once: true });
  });
  return dot;
}

// --- Controls ----------------------------------------------------------------------------------

const shape = (list) => JSON.stringify(list.map((c) => [c.name, c.kind, c.label, c.min, c.max, c.options]));

function makeControl(control, id, change) {
  const field = element("div", { class: `lr-control lr-${control.kind}` });
  const label = element("label", { for: id }, control.label);
  let input;
  let output = null;
  if (control.kind === "select") {
    input = element("select", { id });
    for (const [value, text] of control.options) input.append(element("option", { value }, text));
    input.addEventListener("change", () => change({ [control.name]: input.value }));
    field.append(label, input);
  } else if (control.kind === "check") {
    input = element("input", { id, type: "checkbox" });
    input.addEventListener("change", () => change({ [control.name]: input.checked }));
    field.append(input, label);
  } else {
    const log = logarithmic(control);
    const [min, max] = log ? [Math.log10(control.min), Math.log10(control.max)] : [control.min, control.max];
    input = element("input", { id, type: "range", min, max, step: log ? (control.step ?? 0.02) : control.step });
    // Not an <output>: a screen reader hears the value from the slider itself.
    output = element("span", { class: "lr-value", "aria-hidden": "true" });
    input.addEventListener("input", () => {
      const at = Number(input.value);
      change({ [control.name]: log ? Number((10 ** at).toPrecision(3)) : at });
    });
    field.append(label, output, input);
    if (control.play) field.append(makePlay(control, input));
  }
  const show = (value) => {
    if (control.kind === "select") input.value = value;
    else if (control.kind === "check") input.checked = value;
    else {
      input.value = logarithmic(control) ? Math.log10(value) : value;
      output.textContent = (control.text ?? format)(value);
      input.setAttribute("aria-valuetext", output.textContent);
    }
  };
  return { field, show };
}

// A button that runs a slider from its start to its end.
function makePlay(control, input) {
  const button = element("button", { type: "button", class: "lr-play" }, "Play");
  let frame = 0;
  const stop = () => {
    cancelAnimationFrame(frame);
    frame = 0;
    button.textContent = "Play";
  };
  button.addEventListener("click", () => {
    if (frame) return stop();
    const from = Number(input.value) >= control.max ? control.min : Number(input.value);
    const began = performance.now();
    button.textContent = "Stop";
    const next = (now) => {
      const at = from + ((now - began) / 6000) * (control.max - control.min);
      input.value = Math.min(at, control.max);
      input.dispatchEvent(new Event("input"));
      if (at >= control.max || !button.isConnected) return stop();
      frame = requestAnimationFrame(next);
    };
    frame = requestAnimationFrame(next);
  });
  return button;
}

function copyButton(text, what) {
  const button = element("button", { type: "button", class: "lr-copy" }, what);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed here";
    }
    setTimeout(() => (button.textContent = what), 1600);
  });
  return button;
}

function makeTable(spec) {
  const row = (cells, tag) => element("tr", {}, ...cells.map((text) => element(tag, tag === "th" ? { scope: "col" } : {}, text)));
  const table = element("table", {}, element("caption", {}, spec.caption));
  table.append(element("thead", {}, row(spec.head, "th")));
  table.append(element("tbody", {}, ...spec.rows.map((cells) => row(cells, "td"))));
  return table;
}

// --- Together ----------------------------------------------------------------------------------

// Brings the explorer to life in `host`. `kept` is where its state lives: {read, write}.
function start(explorer, host, data, kept) {
  const id = host.id || `explorer-${explorer.name}-${(counter += 1)}`;
  host.replaceChildren();
  host.classList.add("lr-explorer", "lr-live");
  const controlBox = element("div", { class: "lr-controls", role: "group", "aria-label": `Settings: ${explorer.title}` });
  const charts = element("div", { class: "lr-charts" });
  const summary = element("p", { class: "lr-summary", role: "status" });
  const details = element("div", { class: "lr-details" });
  host.append(element("p", { class: "lr-title" }, explorer.title), controlBox, charts, summary, details);
  let state = settle(explorer, kept.read(), data);
  let shown = "";
  let made = new Map();
  let speak = 0;

  const change = (patch, focus) => {
    state = settle(explorer, { ...state, ...patch }, data);
    kept.write(state);
    refresh(focus);
  };

  function refresh(focus) {
    const list = explorer.controls(state, data).filter((control) => control.kind !== "hidden");
    if (shape(list) !== shown) {
      shown = shape(list);
      const active = document.activeElement?.id;
      made = new Map(list.map((c) => [c.name, makeControl(c, `${id}-${c.name}`, change)]));
      controlBox.replaceChildren(...[...made.values()].map((control) => control.field));
      if (active?.startsWith(`${id}-`)) document.getElementById(active)?.focus();
    }
    for (const control of list) made.get(control.name).show(state[control.name]);
    paint(focus);
  }

  function paint(focus) {
    const view = explorer.view(state, data);
    const held = focus ?? document.activeElement?.closest?.("[data-handle]")?.dataset.handle;
    const inside = charts.contains(document.activeElement);
    charts.replaceChildren(
      ...view.charts.map((spec) => {
        const box = element("div", { class: spec.wide ? "lr-chart lr-wide" : "lr-chart" });
        const heading = element("p", { class: "lr-chart-title" }, spec.title);
        if (spec.y?.label) heading.append(element("span", {}, ` ${spec.y.label}`));
        const width = Math.max(240, widthOf(charts, spec.wide));
        box.append(heading, drawChart(spec, width, change));
        return box;
      }),
    );
    if (held !== undefined && (focus !== undefined || inside)) charts.querySelector(`[data-handle="${held}"]`)?.focus();
    details.replaceChildren();
    if (view.code) {
      const code = element("pre", { tabindex: 0, "aria-label": view.code.label }, element("code", {}, view.code.text));
      details.append(element("div", { class: "lr-code" }, copyButton(() => view.code.text, "Copy"), code));
    }
    if (view.table) details.append(element("div", { class: "lr-table", tabindex: 0, role: "group", "aria-label": view.table.caption }, makeTable(view.table)));
    if (kept.link) details.append(copyButton(() => kept.link(state), "Copy a link to this setting"));
    // A screen reader hears where a movement ends, not every step of it.
    clearTimeout(speak);
    speak = setTimeout(() => (summary.textContent = view.summary), summary.textContent ? 250 : 0);
  }

  function widthOf(box, wide) {
    const all = box.clientWidth || 640;
    return wide || all < 620 ? all : Math.floor((all - 16) / 2);
  }

  refresh();
  let last = charts.clientWidth;
  new ResizeObserver(() => {
    if (charts.clientWidth === last) return;
    last = charts.clientWidth;
    paint();
  }).observe(charts);
  return {
    set(patch, newData) {
      data = newData ?? data;
      state = settle(explorer, { ...state, ...patch }, data);
      refresh();
    },
    get state() {
      return state;
    },
  };
}

// In Jupyter and Colab: the state is the widget's.
function renderWidget(explorer, { model, el }) {
  const host = element("div");
  // Arrow keys move the sliders, not the notebook's selection.
  host.addEventListener("keydown", (event) => event.stopPropagation());
  el.append(host);
  let timer = 0;
  const live = start(explorer, host, model.get("data"), {
    read: () => model.get("state"),
    write: (state) => {
      // Where the kernel trains, it does so for where the slider rests.
      clearTimeout(timer);
      timer = setTimeout(() => {
        model.set("state", state);
        model.save_changes();
      }, 80);
    },
  });
  model.on("change:data", () => live.set({}, model.get("data")));
  model.on("change:state", () => {
    const told = model.get("state");
    if (JSON.stringify(told) !== JSON.stringify(live.state)) live.set(told);
  });
}

// On a page: the state is in its address. A figure comes to life when it is about to be seen.
function mountPage(explorer) {
  for (const host of document.querySelectorAll(`[data-explorer="${explorer.name}"]`)) {
    if (location.hash.startsWith(`#${host.id}`)) {
      begin(explorer, host);
      host.scrollIntoView();
      continue;
    }
    const watch = new IntersectionObserver(
      (seen) => {
        if (!seen.some((entry) => entry.isIntersecting)) return;
        watch.disconnect();
        begin(explorer, host);
      },
      { rootMargin: "500px" },
    );
    watch.observe(host);
    window.addEventListener("hashchange", () => {
      if (!location.hash.startsWith(`#${host.id}`) || host.classList.contains("lr-live")) return;
      watch.disconnect();
      begin(explorer, host);
    });
  }
}

function begin(explorer, host) {
  const given = JSON.parse(host.querySelector("script[type='application/json']").textContent);
  const { id } = host;
  let timer = 0;
  const live = start(explorer, host, given.data, {
    read: () => ({ ...given.state, ...fromAddress(id, location.hash) }),
    write: (state) => {
      clearTimeout(timer);
      timer = setTimeout(() => history.replaceState(null, "", toAddress(id, explorer, state, given.data)), 200);
    },
    link: (state) => location.href.split("#")[0] + toAddress(id, explorer, state, given.data),
  });
  window.addEventListener("hashchange", () => live.set(fromAddress(id, location.hash)));
}
