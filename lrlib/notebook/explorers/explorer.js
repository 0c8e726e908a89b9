// What brings an explorer to life: its controls, its state in the page's address or the widget.
//
// An explorer is {name, title, controls(state, data), view(state, data)}, both functions pure:
// controls lists the inputs, view says what to draw for their values. Nothing here touches the
// page before `start` is called, so the formulas can be tested without a browser. Text from an
// address or a data file reaches the page as text only, never as HTML.

// --- The kinds of controls ---------------------------------------------------------------------

const range = (name, label, value, min, max, step = 1, more = {}) => ({ kind: "range", name, label, value, min, max, step, ...more });
// Its step is one of the exponent.
const logRange = (name, label, value, min, max, step = 0.02) => range(name, label, value, min, max, step, { log: true });
const pick = (name, label, value, options) => ({ kind: "select", name, label, value, options });
const check = (name, label, value = false) => ({ kind: "check", name, label, value });

// The value as the control allows it, whatever was given.
function checked(control, value) {
  if (control.kind === "select") return control.options.some(([option]) => option === value) ? value : control.value;
  if (control.kind === "check") return value === undefined ? control.value : String(value) === "true";
  if (control.kind === "hidden") return control.parse(value);
  const number = value === null || value === "" ? NaN : Number(value);
  if (!Number.isFinite(number)) return control.value;
  const inside = clamp(number, control.min, control.max);
  if (control.log) return Number(inside.toPrecision(3));
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

// --- Elements ----------------------------------------------------------------------------------

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const element = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

function build(drawing) {
  if (typeof drawing === "string") return drawing;
  const made = document.createElementNS("http://www.w3.org/2000/svg", drawing.tag);
  return fill(made, drawing.attributes, drawing.children.map(build));
}

function makeControl(control, id, change) {
  const field = element("div", { class: `lr-control lr-${control.kind}` });
  const label = element("label", { for: id }, control.label);
  if (control.kind === "select") {
    const input = element("select", { id }, ...control.options.map(([value, text]) => element("option", { value }, text)));
    input.addEventListener("change", () => change({ [control.name]: input.value }));
    field.append(label, input);
    return { field, show: (value) => (input.value = value) };
  }
  if (control.kind === "check") {
    const input = element("input", { id, type: "checkbox" });
    input.addEventListener("change", () => change({ [control.name]: input.checked }));
    field.append(input, label);
    return { field, show: (value) => (input.checked = value) };
  }
  const [to, from] = control.log ? [Math.log10, (at) => Number((10 ** at).toPrecision(3))] : [(value) => value, (at) => at];
  const input = element("input", { id, type: "range", min: to(control.min), max: to(control.max), step: control.step });
  // Not an <output>: a screen reader hears the value from the slider itself.
  const output = element("span", { class: "lr-value", "aria-hidden": "true" });
  input.addEventListener("input", () => change({ [control.name]: from(Number(input.value)) }));
  field.append(label, output, input);
  if (control.play) field.append(makePlay(control, input));
  const show = (value) => {
    input.value = to(value);
    output.textContent = format(value);
    input.setAttribute("aria-valuetext", output.textContent);
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

// A point of a chart that is dragged, or moved by the arrow keys.
function makeMovable(dot, handle, index, invert, change) {
  const svg = dot.closest("svg");
  const set = (value) => change(handle.set(clamp(value, handle.min, handle.max)), index);
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
    const drag = (e) => set(invert(e.clientY - top + window.scrollY - scroll));
    const stop = () => window.removeEventListener("pointermove", drag);
    window.addEventListener("pointermove", drag);
    for (const end of ["pointerup", "pointercancel"]) window.addEventListener(end, stop, { once: true });
  });
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
  const row = (tag, attributes) => (cells) => element("tr", {}, ...cells.map((text) => element(tag, attributes, text)));
  return element(
    "table",
    {},
    element("caption", {}, spec.caption),
    element("thead", {}, row("th", { scope: "col" })(spec.head)),
    element("tbody", {}, ...spec.rows.map(row("td", {}))),
  );
}

// --- Together ----------------------------------------------------------------------------------

let unnamed = 0;

// Brings the explorer to life in `host`. `kept` is where its state lives: {read, write, link}.
function start(explorer, host, data, kept) {
  const id = host.id || `explorer-${explorer.name}-${(unnamed += 1)}`;
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
    const shape = JSON.stringify(list.map((c) => ({ ...c, value: null })));
    if (shape !== shown) {
      shown = shape;
      const active = document.activeElement?.id;
      made = new Map(list.map((c) => [c.name, makeControl(c, `${id}-${c.name}`, change)]));
      controlBox.replaceChildren(...[...made.values()].map((control) => control.field));
      if (active?.startsWith(`${id}-`)) document.getElementById(active)?.focus();
    }
    for (const control of list) made.get(control.name).show(state[control.name]);
    paint(focus);
  }

  function makeChart(spec) {
    const all = charts.clientWidth || 640;
    const width = spec.wide || all < 620 ? all : Math.floor((all - 16) / 2);
    const drawing = drawChart(spec, Math.max(240, width));
    const svg = build(drawing);
    svg.querySelectorAll("[data-handle]").forEach((dot, i) => makeMovable(dot, spec.handles[i], i, drawing.invert, change));
    const heading = element("p", { class: "lr-chart-title" }, spec.title);
    const beside = spec.hint ?? spec.y?.label;
    if (beside) heading.append(element("span", {}, ` ${beside}`));
    return element("div", { class: "lr-chart" }, heading, svg);
  }

  function paint(focus) {
    const view = explorer.view(state, data);
    const held = focus ?? (charts.contains(document.activeElement) ? document.activeElement.dataset.handle : undefined);
    charts.replaceChildren(...view.charts.map(makeChart));
    if (held !== undefined) charts.querySelector(`[data-handle="${held}"]`)?.focus();
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

// Calls `act` with the last value only, `wait` milliseconds after it came.
function resting(wait, act) {
  let timer = 0;
  return (value) => {
    clearTimeout(timer);
    timer = setTimeout(act, wait, value);
  };
}

// In Jupyter and Colab: the state is the widget's.
function renderWidget(explorer, { model, el }) {
  const host = element("div");
  // Arrow keys move the sliders, not the notebook's selection.
  host.addEventListener("keydown", (event) => event.stopPropagation());
  el.append(host);
  // Where the kernel trains, it does so for where the slider rests.
  const write = resting(80, (state) => {
    model.set("state", state);
    model.save_changes();
  });
  const live = start(explorer, host, model.get("data"), { read: () => model.get("state"), write });
  model.on("change:data", () => live.set({}, model.get("data")));
  model.on("change:state", () => {
    const told = model.get("state");
    if (JSON.stringify(told) !== JSON.stringify(live.state)) live.set(told);
  });
}

// On a page: the state is in its address. A figure comes to life when it is about to be seen.
function mountPage(explorer) {
  for (const host of document.querySelectorAll(`[data-explorer="${explorer.name}"]`)) {
    const named = () => location.hash.startsWith(`#${host.id}`);
    const wake = () => {
      watch.disconnect();
      if (!host.classList.contains("lr-live")) begin(explorer, host);
    };
    const watch = new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && wake(), { rootMargin: "500px" });
    watch.observe(host);
    window.addEventListener("hashchange", () => named() && wake());
    if (named()) {
      wake();
      host.scrollIntoView();
    }
  }
}

function begin(explorer, host) {
  const given = JSON.parse(host.querySelector("script[type='application/json']").textContent);
  const address = (state) => toAddress(host.id, explorer, state, given.data);
  const live = start(explorer, host, given.data, {
    read: () => ({ ...given.state, ...fromAddress(host.id, location.hash) }),
    write: resting(200, (state) => history.replaceState(null, "", address(state))),
    link: (state) => location.href.split("#")[0] + address(state),
  });
  window.addEventListener("hashchange", () => live.set(fromAddress(host.id, location.hash)));
}
