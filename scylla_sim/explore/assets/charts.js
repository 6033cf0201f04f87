// Charts of the page. Plotly draws axes and lines; the stacked bars are plain HTML. Points that move with the batch
// lie above a chart, because a redraw of its axes takes thirty times as long.
"use strict";

const COLORS = {ink: "#1b2733", soft: "#66737f", blue: "#0b62a4", good: "#0a7554", bad: "#b0380a"};
const PARTS = [  // key, name, colour, colour of the number on it
  ["draft", "draft", "#e69f00", "#1b2733"], ["gemm", "GEMM", "#0b62a4", "#fff"],
  ["attention", "attention", "#7cc4ee", "#1b2733"], ["other", "other kernels", "#aab4bd", "#1b2733"],
  ["engine", "engine", "#b9500f", "#fff"],
];
const AXIS = {gridcolor: "#edf0f3", zeroline: false, automargin: false, fixedrange: true};
const CONFIG = {displayModeBar: false, responsive: false};
const MARGIN = {l: 58, r: 14, t: 8, b: 40};
const axes = {};  // chart -> axes of its last drawing
let sizes = {};  // of the charts in pixels; reading them from the document would force a layout

function measureCharts() {
  const plots = [...document.querySelectorAll(".plot")];
  sizes = Object.fromEntries(plots.map(plot => [plot.id, [plot.clientWidth, plot.clientHeight]]));
}

function react(id, traces, x, y, more = {}) {
  const [width, height] = sizes[id];
  axes[id] = [x, y];
  return Plotly.react(id, traces, {
    width, height, margin: MARGIN, hovermode: "closest", showlegend: false,
    paper_bgcolor: "#fff", plot_bgcolor: "#fff",
    font: {family: "Segoe UI, Roboto, Helvetica Neue, Liberation Sans, Arial, sans-serif", size: 12, color: COLORS.ink},
    xaxis: {...AXIS, ...x, title: {text: x.label, standoff: 4, font: {size: 12}}},
    yaxis: {...AXIS, ...y, title: {text: y.label || "", standoff: 4, font: {size: 12}}}, ...more,
  }, CONFIG);
}
const note = (x, y, text, more) => ({x, y, text, showarrow: false, font: {size: 11, color: COLORS.soft}, ...more});

// Points above a chart: {x, y, color, text, title}. `shape` is SVG that lies below them, from their pixels.
function mark(id, points, shape = () => "") {
  const [width, height] = sizes[id], [x, y] = axes[id], {l, r, t, b} = MARGIN;
  const share = ({type, range: [low, high]}, value) => ((type === "log" ? Math.log10(value) : value) - low) / (high - low);
  const at = points.map(one => [l + share(x, one.x) * (width - l - r), height - b - share(y, one.y) * (height - t - b)]);
  const inside = at.map(([px, py]) => px >= l - 1 && px <= width - r + 1 && py >= t - 1 && py <= height - b + 1);
  const circles = points.map(({color, text, title}, n) => !inside[n] ? "" : `<circle cx="${at[n][0]}" cy="${at[n][1]}" `
    + `r="6" fill="${color}">${title ? `<title>${title}</title>` : ""}</circle>` + (text ? `<text x="${at[n][0] + 9}" `
    + `y="${at[n][1] + (y.type === "log" ? 15 : -8)}" fill="${color}">${text}</text>` : ""));
  byId(id.replace("plot", "points")).innerHTML = shape(at) + circles.join("");
}
const swatch = (color, text, line) => `<span class="key"><i class="${line ? "line" : "box"}" `
  + `style="${line ? `border-top:2.5px ${line} ${color}` : `background:${color}`}"></i>${text}</span>`;

function drawSpeedup() {
  const {K, context, rates, unsure} = state, traces = [], legend = [], full = [];
  const contexts = [512, context, 16384].filter((one, at) => at === 1 || Math.abs(Math.log(one / context)) > 0.3)
    .filter(one => one <= model.contexts[model.contexts.length - 1]).sort((a, b) => a - b);
  for (const one of contexts) {
    const most = Math.min(model.most(K, one), model.lastBatch);
    if (most < 1) continue;
    const at = [], ends = model.index(most);
    for (let i = 0; i <= ends; i += i < 32 ? 1 : i < 128 ? 4 : i < 512 ? 12 : 8) at.push(i);
    if (at[at.length - 1] !== ends) at.push(ends);
    const values = at.map(i => model.at(K, i, one, rates, unsure)), x = at.map(i => model.batches[i]);
    const chosen = one === context;
    const [color, dash, line] = chosen ? [COLORS.blue, "solid", "solid"] : one < context
      ? [COLORS.soft, "dot", "dotted"] : [COLORS.good, "dash", "dashed"];
    if (chosen) traces.push({x: [...x, ...x.slice().reverse()], line: {width: 0}, mode: "lines", hoverinfo: "skip",
      y: [...values.map(v => v.upper), ...values.map(v => v.lower).reverse()],
      fill: "toself", fillcolor: "rgba(11,98,164,.14)"});
    if (most < model.lastBatch) full.push([most, values[values.length - 1].speedup, color]);
    traces.push({x, y: values.map(v => v.speedup), mode: "lines", line: {color, dash, width: chosen ? 2.6 : 1.5},
      hovertemplate: `batch %{x}: %{y:.2f}×<extra>${short(one)} context</extra>`});
    legend.push(swatch(color, short(one), line));
  }
  traces.push({x: full.map(([x]) => x), y: full.map(([, y]) => y), mode: "markers", hoverinfo: "skip",
    marker: {symbol: "line-ns-open", size: 11, color: full.map(([, , color]) => color),
      line: {color: full.map(([, , color]) => color), width: 2}}});
  const y = traces.flatMap(trace => trace.y), low = Math.min(0.6, ...y) * 0.95, high = Math.max(1.3, ...y) * 1.08;
  const cross = K ? model.crossovers(K, context, rates, unsure).speedup : null;
  const shapes = [{type: "line", xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1, line: {color: COLORS.ink, width: 1}}];
  const notes = [note(0.005, 1, "plain decoding", {xref: "paper", xanchor: "left", yanchor: "top"})];
  if (cross > 1) {
    shapes.push({type: "line", x0: cross, x1: cross, yref: "paper", y0: 0, y1: 1,
      line: {color: COLORS.bad, width: 1, dash: "dot"}});
    notes.push(note(Math.log10(cross), 1, `plain wins from ${cross}`, {yref: "paper", yanchor: "top",
      xanchor: cross > 40 ? "right" : "left", font: {size: 11, color: COLORS.bad}}));
  }
  byId("speedup-legend").innerHTML = `context ${legend.join("")}<span class="key"><b class="tick"></b>memory full</span>`;
  const ticks = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
  react("speedup-plot", traces, {label: "batch", type: "log", range: [-0.02, Math.log10(1100)],
    tickvals: sizes["speedup-plot"][0] < 420 ? ticks.filter((_, at) => at % 2 === 0) : ticks},
  {range: [low, high], ticksuffix: "×", nticks: 7}, {shapes, annotations: notes});
}

function markSpeedup(now) {
  mark("speedup-plot", [{x: state.batch, y: now.speedup, color: COLORS.blue}]);
}

function drawParts(now, i) {
  const {K, context} = state, plain = model.parts(0, i, context), cycle = model.parts(K, i, context);
  const rows = [["plain step", "1 token", plain, 1]];
  if (K) rows.push(["cycle", `${two(now.tau)} tokens`, cycle, 1], ["cycle", "per token", cycle, now.tau]);
  const longest = 1.16 * Math.max(plain.total, cycle.total), room = sizes["parts-plot"][0] - 92;  // pixels
  byId("parts-plot").innerHTML = rows.map(([name, under, parts, tau]) => {
    const pieces = PARTS.map(([key, label, color, ink]) => {
      const share = parts[key] / tau / longest, ms = three(1e3 * parts[key] / tau);
      return `<i style="width:${(100 * share).toFixed(2)}%;background:${color};color:${ink}" `
        + `title="${label}: ${ms} ms">${share * room > 34 ? ms : ""}</i>`;
    });
    return `<div class="bar"><span>${name}<small>${under}</small></span>`
      + `<div>${pieces.join("")}<b>${three(1e3 * parts.total / tau)} ms</b></div></div>`;
  }).join("");
  byId("parts-legend").innerHTML = PARTS.map(([, name, color]) => swatch(color, name)).join("");
}

function drawRoofline() {
  const {peak_flop_per_s: peak, bytes_per_s: rate} = model.data.device, tera = 1e12;
  const ridge = peak / rate, last = Math.max(2000, 4 * ridge);
  const traces = [{x: [0.5, ridge, last], y: [0.5 * rate / tera, peak / tera, peak / tera], mode: "lines",
    hoverinfo: "skip", line: {color: COLORS.ink, width: 1.5}}];
  const notes = [
    note(Math.log10(ridge), Math.log10(peak / tera), `bound by compute right of ${Math.round(ridge)}`,
      {yanchor: "bottom", xanchor: "right"}),
    note(Math.log10(3), Math.log10(3 * rate / tera), `${two(rate / tera)} TB/s`, {xanchor: "right", yanchor: "bottom"})];
  const ticks = [1, 10, 100, 1000, 10000];
  react("roofline-plot", traces,
    {label: "FLOP per byte moved", type: "log", range: [Math.log10(0.5), Math.log10(last)], tickvals: ticks},
    {label: "TFLOP/s", type: "log", range: [Math.log10(0.4 * rate / tera), Math.log10(3 * peak / tera)],
      tickvals: ticks}, {annotations: notes});
}

function markRoofline(i) {
  const {K, context} = state, point = (shape, text, color) => {
    const {intensity, rate} = model.roofline(shape, i, context);
    const title = `${text}: ${three(intensity)} FLOP/byte, ${three(rate / 1e12)} TFLOP/s`;
    return {x: intensity, y: rate / 1e12, text, color, title};
  };
  const points = [point(0, "plain", COLORS.soft)];
  if (K) points.push(point(K, `verify ${model.shapes[K][2]} tokens`, COLORS.blue));
  mark("roofline-plot", points, at => `<polyline points="${at.join(" ")}"/>`);
}

const PARETO = [1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024];
function drawPareto(best) {
  const {K, context, rates} = state, ranks = model.data.tp;
  const legend = [];
  const curve = (shape, name, color, width) => {
    const most = Math.min(model.most(shape, context), model.lastBatch);
    const at = PARETO.filter(b => b <= Math.max(1, most)).map(b => model.index(b));
    const rate = at.map(one => { const v = model.at(shape, one, context, rates, 0); return v.tau / v.cycle; });
    legend.push(swatch(color, name, "solid"));
    return {x: rate, y: at.map((one, n) => model.batches[one] * rate[n] / ranks), mode: "lines+markers",
      text: at.map(one => model.batches[one]), line: {color, width}, marker: {size: 4.5},
      hovertemplate: `batch %{text}: %{x:.0f} per user, %{y:.0f} per GPU<extra>${name}</extra>`};
  };
  const traces = [curve(0, "plain", COLORS.soft, 2)];
  if (K) traces.push(curve(K, shapeName(K), COLORS.blue, 2.6));
  if (best && best !== K) traces.push(curve(best, `${shapeName(best)}, best here`, COLORS.good, 1.6));
  const right = 1.08 * Math.max(...traces.flatMap(one => one.x)), top = 1.1 * Math.max(...traces.flatMap(one => one.y));
  byId("pareto-legend").innerHTML = legend.join("");
  react("pareto-plot", traces, {label: "tokens/s per user", range: [0, right], nticks: 6},
    {label: "tokens/s per GPU", range: [0, top], nticks: 6});
}

function markPareto(now) {
  const {K, batch} = state, rate = now.tau / now.cycle, color = K ? COLORS.blue : COLORS.soft;
  mark("pareto-plot", [{x: rate, y: batch * rate / model.data.tp, color, text: `batch ${batch}`}]);
}
