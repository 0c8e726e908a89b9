// What brings an explorer to life: its controls, its state in the page's address or the widget.
//
// An explorer is {name, title, controls(state, data), view(state, data)}, both functions pure:
// controls lists the inputs, view says what to draw for their values. One that has to compute for
// longer than a frame has `work(data, show)` too, see `start`. Nothing here touches the
// page before `start` is called, so the formulas can be tested without a browser. Text from an
// address or a data file reaches the page as text only, never as HTML.

// --- The kinds of controls ---------------------------------------------------------------------

const range = (name, label, value, min, max, step = 1, more = {}) => ({ kind: "range", name, label, value, min, max, step, ...more });
// Its step is one of the exponent.
const logRange = (name, label, value, min, max, step = 0.02) => range(name, label, value, min, max, step, { log: true });
const pick = (name, label, value, options) => ({ kind: "select", name, label, value, options });
const check = (name, label, value = false) => ({ kind: "check", name, label, value });
// A button that draws other random numbers: no one looks for a seed.
const seed = (label) => range("seed", label, 1, 0, 50, 1, { kind: "seed" });

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

// A slider and a link are moved to what is allowed. A value in a program isn't: this says what is
// wrong with it, as lrlib's errors do, or nothing.
function refusal(explorer, given, data) {
  const list = explorer.controls(settle(explorer, given, data), data);
  for (const [name, value] of Object.entries(given)) {
    const call = `explorer("${explorer.name}", ${name}=${JSON.stringify(value)}): ${name} must be`;
    const control = list.find((one) => one.name === name);
    if (!control) return `${call} the name of a control: ${list.map((one) => one.name).join(", ")}`;
    const shown = checked(control, value);
    const same = String(shown) === String(value) || Math.abs(shown - value) <= 1e-9 * Math.abs(value);
    if (!same && control.kind !== "hidden") return `${call} ${rule(control, shown)}`;
  }
  return "";
}

function rule({ kind, options, min, max, log, step }, near) {
  if (kind === "select") return `one of ${options.map(([option]) => JSON.stringify(option)).join(", ")}`;
  if (kind === "check") return "True or False";
  return `a number from ${min} to ${max}, ${log ? "with at most three digits" : `in steps of ${step}`}, such as ${near}`;
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
  if (control.kind === "seed") {
    let now = control.value;
    const button = element("button", { type: "button", id }, control.label);
    button.addEventListener("click", () => change({ [control.name]: (now + 1) % (control.max + 1) }));
    field.append(button);
    return { field, show: (value) => (now = value) };
  }
  const [to, from] = control.log ? [Math.log10, (at) => Number((10 ** at).toPrecision(3))] : [(value) => value, (at) => at];
  // Whole steps to the end, or the thumb would stop before it; `checked` keeps to the limit.
  const low = to(control.min);
  const steps = Math.ceil((to(control.max) - low) / control.step - 1e-6);
  const high = low + steps * control.step + 1e-9;
  const input = element("input", { id, type: "range", min: low, max: high, step: control.step });
  // Not an <output>: a screen reader hears the value from the slider itself.
  const output = element("span", { class: "lr-value", "aria-hidden": "true" });
  input.addEventListener("input", () => change({ [control.name]: from(Number(input.value)) }));
  field.append(label, output, input);
  if (control.play) field.append(makePlay(control, input));
  const show = (value) => {
    input.value = value >= control.max ? high : to(value);
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
      if (!button.isConnected) return stop();
      const at = from + ((now - began) / 6000) * (control.max - control.min);
      input.value = Math.min(at, control.max);
      input.dispatchEvent(new Event("input"));
      if (at >= control.max) return stop();
      frame = requestAnimationFrame(next);
    };
    frame = requestAnimationFrame(next);
  });
  return button;
}

// A chart that is drawn on: with the pointer, or its points by the arrow keys. The chart is drawn
// anew at each change, so `spec` gives what is shown now, and the window does the listening.
function makeMovable(svg, spec, invert, change) {
  svg.addEventListener("keydown", (event) => {
    const index = Number(event.target.dataset.handle);
    const handle = spec().handles?.[index];
    const up = { ArrowUp: 1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[event.key];
    const aside = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (handle && up) change(spec().grab(handle.x, clamp(handle.y + up * handle.step, handle.min, handle.max)), index);
    else if (handle && aside) svg.querySelector(`[data-handle="${index + aside}"]`)?.focus();
    else return;
    event.preventDefault();
  });
  svg.addEventListener("pointerdown", (event) => {
    if (!event.target.matches(".lr-touch, .lr-handle")) return;
    event.preventDefault();
    const box = svg.getBoundingClientRect();
    const scroll = window.scrollY;
    const move = (e) => change(spec().grab(...invert(e.clientX - box.left, e.clientY - box.top + window.scrollY - scroll)));
    const stop = () => window.removeEventListener("pointermove", move);
    if (event.target.matches(".lr-handle")) event.target.focus();
    else move(event);
    window.addEventListener("pointermove", move);
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

function makeTableBox(spec) {
  return element("div", { class: "lr-table", tabindex: 0, role: "group", "aria-label": spec.caption }, makeTable(spec));
}

function makeCode({ label, text, notebook }) {
  const code = element("pre", { tabindex: 0, "aria-label": label }, element("code", {}, text));
  return element("div", { class: "lr-code" }, copyButton(() => text, "Copy"), ...(notebook ? [saveLink(notebook)] : []), code);
}

// A link that stores {name, label, text}: it needs no server.
function saveLink({ name, label, text }) {
  return element("a", { class: "lr-save", download: name, href: `data:application/x-ipynb+json;charset=utf-8,${encodeURIComponent(text)}` }, label);
}

// A sentence, with a link if the figure is on the book's site, whose pages say where its root is.
function makeNote({ text, color: name, page, label }) {
  const root = document.documentElement.dataset.content_root;
  const link = page && (root === undefined ? label : element("a", { href: `${root}${page}` }, label));
  const mark = name ? [element("span", { class: "lr-key", style: `background: ${color(name)}`, "aria-hidden": "true" })] : [];
  return element("p", {}, ...mark, text, ...(link ? [" ", link, "."] : []));
}

// --- Together ----------------------------------------------------------------------------------

let unnamed = 0;

// Brings the explorer to life in `host`. `kept` is where its state lives: {read, write, link}.
function start(explorer, host, data, kept) {
  const id = host.id || `explorer-${explorer.name}-${(unnamed += 1)}`;
  host.replaceChildren();
  host.classList.add("lr-explorer", "lr-live");
  const controlBox = element("div", { class: "lr-controls", role: "group", "aria-label": `Settings: ${explorer.title}` });
  const moreBox = element("div", { class: "lr-controls", role: "group", "aria-label": "More settings" });
  const more = element("details", { class: "lr-more" }, element("summary", {}, "More settings"), moreBox);
  const actions = element("div", { class: "lr-presets", role: "group", "aria-label": "Compare" });
  const charts = element("div", { class: "lr-charts" });
  const summary = element("p", { class: "lr-summary", role: "status" });
  const notes = element("div", { class: "lr-notes" });
  const details = element("div", { class: "lr-details" });
  const presets = element("div", { class: "lr-presets", role: "group", "aria-label": "Settings to begin with" });
  for (const [label, values] of [...(explorer.presets ?? []), ["Reset", {}]]) {
    const button = element("button", { type: "button" }, label);
    button.addEventListener("click", () => renew(values));
    presets.append(button);
  }
  // What the last of these buttons took away.
  let before;
  const undo = element("button", { type: "button", "aria-disabled": true }, "Undo");
  undo.addEventListener("click", () => before && renew(before, null));
  presets.append(undo);
  host.append(element("p", { class: "lr-title" }, explorer.title), presets, controlBox, more, actions, charts, summary, notes, details);
  let state = settle(explorer, kept.read(), data);
  let shown = "";
  let made = new Map();
  let view;
  let speak = 0;
  let waits = 0;
  let inDetails = [];
  // What takes long is done beside the page: `work` gives a function that is told each new state,
  // and it shows what it has by new data, as often as it likes.
  const work = explorer.work?.(data, (fresh) => {
    data = fresh;
    // Ten times a second: a phone has other things to do.
    waits ||= setTimeout(() => {
      waits = 0;
      paint();
    }, 100);
  });
  // Who wants less motion sees the charts when they are done.
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  const change = (patch, focus) => {
    state = settle(explorer, { ...state, ...patch }, data);
    kept.write(state);
    work?.(state);
    refresh(focus);
  };
  // All controls at their start, but for these.
  const renew = (values, undone = state) => {
    state = {};
    change(values);
    before = undone && JSON.stringify(undone) === JSON.stringify(state) ? before : undone;
    undo.setAttribute("aria-disabled", !before);
  };

  function refresh(focus) {
    const list = explorer.controls(state, data).filter((control) => control.kind !== "hidden");
    const shape = JSON.stringify(list.map((c) => ({ ...c, value: null })));
    if (shape !== shown) {
      shown = shape;
      const active = document.activeElement?.id;
      made = new Map(list.map((c) => [c.name, makeControl(c, `${id}-${c.name}`, change)]));
      const fields = (wanted) => list.filter((c) => Boolean(c.more) === wanted).map((c) => made.get(c.name).field);
      controlBox.replaceChildren(...fields(false));
      moreBox.replaceChildren(...fields(true));
      more.hidden = fields(true).length === 0;
      if (active?.startsWith(`${id}-`)) document.getElementById(active)?.focus();
    }
    for (const control of list) made.get(control.name).show(state[control.name]);
    paint(focus);
  }

  // Buttons that do something to the present setting; one without a patch can't be pressed now. Who
  // pressed one stays among them.
  let offered = "";
  function offer(list) {
    if (JSON.stringify(list) === offered) return;
    offered = JSON.stringify(list);
    const active = [...actions.children].indexOf(document.activeElement);
    const button = ([label, patch]) => {
      const shown = element("button", { type: "button", "aria-disabled": !patch }, label);
      if (patch) shown.addEventListener("click", () => change(patch));
      return shown;
    };
    actions.replaceChildren(...list.map(button));
    actions.hidden = list.length === 0;
    if (active >= 0) actions.children[Math.min(active, list.length - 1)]?.focus();
  }

  function makeChart(spec, index) {
    const all = charts.clientWidth || 640;
    const width = spec.wide || all < 620 ? all : Math.floor((all - 16) / 2);
    const drawing = drawChart(spec, Math.max(240, width));
    const svg = build(drawing);
    if (spec.grab) makeMovable(svg, () => view.charts[index], drawing.invert, change);
    const heading = element("p", { class: "lr-chart-title" }, spec.title);
    const beside = spec.hint ?? spec.y?.label;
    if (beside) heading.append(element("span", {}, ` ${beside}`));
    // As wide as the picture, so that a long title breaks.
    return element("div", { class: "lr-chart", style: `width: ${drawing.attributes.width}px` }, heading, svg);
  }

  function paint(focus) {
    view = explorer.view(state, data);
    offer(explorer.actions?.(state, data) ?? []);
    const held = focus ?? (charts.contains(document.activeElement) ? document.activeElement.dataset.handle : undefined);
    if (!(view.busy && calm.matches && charts.children.length)) charts.replaceChildren(...view.charts.map(makeChart));
    if (held !== undefined) charts.querySelector(`[data-handle="${held}"]`)?.focus();
    notes.replaceChildren(...(view.notes ?? []).map(makeNote));
    fillDetails();
    // A screen reader hears where a movement or a training ends, not every step of it. Who looks
    // sees at once that what is drawn isn't the end.
    clearTimeout(speak);
    const say = () => {
      summary.setAttribute("aria-busy", Boolean(view.busy));
      summary.textContent = view.summary;
    };
    if (view.busy || summary.getAttribute("aria-busy") === "true") say();
    else speak = setTimeout(say, summary.textContent ? 250 : 0);
  }

  // Only what has changed is built anew: the rest keeps its focus and what is selected in it.
  function fillDetails() {
    const wanted = [
      view.code && { spec: view.code, make: makeCode },
      view.table && { spec: view.table, make: makeTableBox },
      kept.link && { spec: "link", make: () => copyButton(() => kept.link(state), "Copy a link to this setting") },
    ].filter(Boolean);
    const key = ({ spec }) => JSON.stringify(spec);
    const before = new Map(inDetails.map((one) => [key(one), one]));
    inDetails = wanted.map((one) => before.get(key(one)) ?? { ...one, made: one.make(one.spec) });
    for (const child of [...details.children]) if (!inDetails.some(({ made }) => made === child)) child.remove();
    inDetails.forEach(({ made }, i) => details.children[i] !== made && details.insertBefore(made, details.children[i] ?? null));
  }

  refresh();
  if (work) setTimeout(() => work(state));
  let last = charts.clientWidth;
  new ResizeObserver(() => {
    if (charts.clientWidth === last) return;
    last = charts.clientWidth;
    paint();
  }).observe(charts);
  return {
    // Another state, whole.
    set(given) {
      state = settle(explorer, given, data);
      work?.(state);
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
  const problem = element("p", { role: "alert" });
  el.append(problem, host);
  const read = () => model.get("state");
  const write = resting(80, (state) => {
    model.set("state", state);
    model.save_changes();
  });
  let live;
  const take = () => {
    const wrong = refusal(explorer, read(), model.get("data"));
    problem.textContent = wrong;
    problem.hidden = !wrong;
    if (wrong) return;
    if (!live) live = start(explorer, host, model.get("data"), { read, write });
    else if (JSON.stringify(read()) !== JSON.stringify(live.state)) live.set(read());
  };
  take();
  model.on("change:state", take);
}

// Data in a file of its own, for all figures that need it: a script, because that is all that a
// page from file:// may load. It stands beside this one.
const ownAddress = globalThis.document?.currentScript?.src;

function loadData(file) {
  return new Promise((done, fail) => {
    const script = element("script", { src: new URL(file, ownAddress) });
    script.onload = () => done(window.lrData[file]);
    script.onerror = fail;
    document.head.append(script);
  });
}

// On a page: the state is in its address. A figure comes to life when it is about to be seen.
function mountPage(explorer) {
  for (const host of document.querySelectorAll(`[data-explorer="${explorer.name}"]`)) {
    const here = () => location.hash.split("?")[0] === `#${host.id}`;
    let awake = false;
    const wake = () => {
      watch.disconnect();
      if (!awake) begin(explorer, host);
      awake = true;
    };
    const watch = new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && wake(), { rootMargin: "500px" });
    watch.observe(host);
    const follow = () => {
      if (!here()) return;
      wake();
      host.scrollIntoView();
    };
    window.addEventListener("hashchange", follow);
    follow();
  }
}

async function begin(explorer, host) {
  const given = JSON.parse(host.querySelector("script[type='application/json']").textContent);
  if (given.file) {
    try {
      Object.assign(given.data, await loadData(given.file));
    } catch {
      host.append(element("p", { role: "status" }, `This figure needs the file ${given.file}, which didn't come.`));
      return;
    }
  }
  const address = (state) => toAddress(host.id, explorer, state, given.data);
  const read = () => ({ ...given.state, ...fromAddress(host.id, location.hash) });
  const live = start(explorer, host, given.data, {
    read,
    write: resting(200, (state) => history.replaceState(null, "", address(state))),
    link: (state) => location.href.split("#")[0] + address(state),
  });
  // A link gives the setting that it names, whatever was set before.
  window.addEventListener("hashchange", () => location.hash.split("?")[0] === `#${host.id}` && live.set(read()));
}
