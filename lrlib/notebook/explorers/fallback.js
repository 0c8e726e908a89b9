// What stands in an explorer's place where no script runs: what it draws at its start, as HTML.
// Only book/tools/fallbacks.py uses this file.

const escaped = (text) => String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

function markup(drawing) {
  if (typeof drawing === "string") return escaped(drawing);
  const { tag, attributes, children } = drawing;
  const written = Object.entries(attributes).map(([name, value]) => ` ${name}="${escaped(value)}"`);
  return `<${tag}${written.join("")}>${children.map(markup).join("")}</${tag}>`;
}

// `style` is the pictures' stylesheet, and `colors` are what it and they call var(--lr-name).
function fallback(explorer, data, style, colors) {
  const state = settle(explorer, {}, data);
  const view = explorer.view(state, explorer.still ? explorer.still(state, data) : data);
  const address = (drawing) => {
    const styled = { ...drawing, attributes: { xmlns: "http://www.w3.org/2000/svg", ...drawing.attributes } };
    const svg = markup(styled).replace(">", `><style>${style}</style>`).replace(/var\(--lr-(\w+)\)/g, (_, name) => colors[name]);
    return `data:image/svg+xml,${svg.replaceAll('"', "'").replace(/[%#<>& ]/g, encodeURIComponent)}`;
  };
  const picture = (spec) => {
    // Points that can be moved are but points here.
    const still = { ...spec, grab: undefined, handles: [], points: spec.handles ?? spec.points };
    const [phone, page] = [drawChart(still, 316), drawChart(still, spec.wide ? 650 : 316)];
    const source = spec.wide ? `<source media="(max-width: 600px)" srcset="${address(phone)}" width="${phone.attributes.width}" height="${phone.attributes.height}">` : "";
    const { width, height, "aria-label": alt } = page.attributes;
    const unit = spec.y?.label ? `<span> ${escaped(spec.y.label)}</span>` : "";
    const title = `<p class="lr-chart-title">${escaped(spec.title)}${unit}</p>`;
    return `<div class="lr-chart" style="width: ${width}px">${title}<picture>${source}<img src="${address(page)}" width="${width}" height="${height}" alt="${escaped(alt)}"></picture></div>`;
  };
  const charts = view.charts.map(picture).join("");
  return `<p class="lr-title">${escaped(explorer.title)}</p><div class="lr-charts">${charts}</div><p class="lr-summary">${escaped(view.summary)}</p>`;
}
