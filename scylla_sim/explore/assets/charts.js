// Charts of the page. Plotly draws axes and ticks, and finds the point under the pointer. Curves and points lie above
// it as SVG, because a redraw by Plotly takes thirty times as long. The stacked bars are plain HTML.
"use strict";

const COLORS = {ink: "#1b2733", soft: "#66737f", blue: "#0b62a4", good: "#0a7554", bad: "#b0380a"};
const PARTS = [  // key, name, colour, colour of the number on it
  ["draft", "draft", "#e69f00", "#1b2733"], ["gemm", "GEMM", "#0b62a4", "#fff"],
  ["attention", "attention", "#7cc4ee", "#1b2733"], ["other", "other kernels", "#aab4bd", "#1b2733"],
  ["engine", "engine", "#b9500f", "#fff"],
];
const AXIS = {type: "linear", gridcolor: "#edf0f3", zeroline: false, automargin: false, fixedrange: true,
  ticklabeloverflow: "allow"};  // else Plotly measures all labels of an axis again after each of them
const CONFIG = {displayModeBar: false, responsive: false};
const MARGIN = {l: 58, r: 14, t: 8, b: 40};
const DASHES = {dash: "9 6", dot: "3 4"};
const charts = {};  // chart -> its axes, its layout, its curves, and whether Plotly has the curves
let sizes = {};  // of the charts in pixels; reading them from the document would force a layout

function measureCharts() {
  const plots = [...document.querySelectorAll(".plot")];
  const found = Object.fromEntries(plots.map(plot => [plot.id, [plot.clientWidth, plot.clientHeight]]));
  if (JSON.stringify(found) !== JSON.stringify(sizes)) sizes = found;
}

let moving = false;  // whether a slider moves; axes are fitted to the curves when it rests

// End of an axis of a chart for a largest value: the end that it has, if that still suits, else a round number. A
// slider then seldom moves an axis.
function end(id, axis, value) {
  const power = 10 ** Math.floor(Math.log10(value)), old = charts[id]?.[axis].range[1];
  if (old >= value && old <= (moving ? 3 : 1.5) * value) return old;
  const steps = [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9, 10];
  return power * steps.find(one => one * power >= value * (1 - 1e-9));
}

function frame(id, x, y) {  // a redraw by Plotly only where an axis changed
  const key = JSON.stringify([sizes[id], x, y]);
  if (charts[id]?.key === key) return;
  const [width, height] = sizes[id];
  const layout = {
    width, height, margin: MARGIN, hovermode: "closest", showlegend: false, dragmode: false,
    paper_bgcolor: "#fff", plot_bgcolor: "#fff",
    font: {family: "Segoe UI, Roboto, Helvetica Neue, Liberation Sans, Arial, sans-serif", size: 12, color: COLORS.ink},
    xaxis: {...AXIS, ...x, title: {text: x.label, standoff: 4, font: {size: 12}}},
    yaxis: {...AXIS, ...y, title: {text: y.label || "", standoff: 4, font: {size: 12}}},
  };
  charts[id] = {key, x, y, layout, curves: [], known: false};
  Plotly.react(id, [], layout, CONFIG);
}

// Functions from values of the axes of a chart to pixels inside its frame, and the size of the frame.
function scales(id) {
  const {x, y} = charts[id], {l, r, t, b} = MARGIN, [width, height] = [sizes[id][0] - l - r, sizes[id][1] - t - b];
  const share = ({type, range: [low, high]}, value) => ((type === "log" ? Math.log10(value) : value) - low) / (high - low);
  return {width, height, px: value => share(x, value) * width, py: value => (1 - share(y, value)) * height};
}

const layer = (id, name) => byId(id.replace("plot", name));
const inFrame = (width, height, inside) => `<svg x="${MARGIN.l}" y="${MARGIN.t}" width="${width}" height="${height}">`
  + `${inside}</svg>`;
const lineOf = (x1, y1, x2, y2, color, dash = "") => `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" `
  + `stroke="${color}" stroke-dasharray="${dash}"/>`;
const textAt = (x, y, text, anchor, color = COLORS.soft) =>
  `<text x="${x}" y="${y}" text-anchor="${anchor}" fill="${color}">${text}</text>`;

// Curves {x, y, color, dash, width, dots, band, said}: `band` is the other side of an area, `said` the text of a
// point under the pointer, as Plotly's hovertemplate has it, `names` of the points. `more` gives SVG from the scales.
function showCurves(id, curves, more = () => "") {
  const at = scales(id), {width, height, px, py} = at;
  const points = ({x}, y) => x.map((value, n) => `${px(value).toFixed(1)},${py(y[n]).toFixed(1)}`);
  const drawn = curves.map(one => {
    const path = points(one, one.y), {color, dash, width: stroke = 2, dots, band} = one;
    if (band) return `<polygon points="${[...path, ...points(one, band).reverse()].join(" ")}" fill="${color}" `
      + 'fill-opacity=".14"/>';
    const circles = !dots ? "" : path.map(place => { const [cx, cy] = place.split(",");
      return `<circle class="dot" cx="${cx}" cy="${cy}" r="2.3" fill="${color}"/>`; }).join("");
    return `<polyline points="${path.join(" ")}" stroke="${color}" stroke-width="${stroke}" `
      + `stroke-dasharray="${DASHES[dash] ?? ""}"/>${circles}`;
  });
  layer(id, "curves").innerHTML = inFrame(width, height, drawn.join("") + more(at));
  charts[id].curves = curves;
  charts[id].known = false;
}

// Give Plotly the curves when the pointer comes: it finds the nearest point, and its own lines have no width.
function tellPlotly(id) {
  const chart = charts[id];
  if (!chart || chart.known) return;
  chart.known = true;
  const traces = chart.curves.filter(one => one.said).map(({x, y, color, said, names}) => ({x, y, text: names,
    mode: "lines", line: {color, width: 0}, hovertemplate: said}));
  Plotly.react(id, traces, chart.layout, CONFIG);
}

// Points above a chart: {x, y, color, text, title}. `shape` is SVG that lies below them, from their pixels.
function mark(id, points, shape = () => "") {
  const {width, height, px, py} = scales(id), {l, t} = MARGIN;
  const at = points.map(one => [l + px(one.x), t + py(one.y)]);
  const inside = at.map(([x, y]) => x >= l - 1 && x <= l + width + 1 && y >= t - 1 && y <= t + height + 1);
  const circles = points.map(({color, text, title}, n) => !inside[n] ? "" : `<circle cx="${at[n][0]}" cy="${at[n][1]}" `
    + `r="6" fill="${color}">${title ? `<title>${title}</title>` : ""}</circle>` + (text ? `<text x="${at[n][0] + 9}" `
    + `y="${at[n][1] + (charts[id].y.type === "log" ? 15 : -8)}" fill="${color}">${text}</text>` : ""));
  layer(id, "points").innerHTML = shape(at) + circles.join("");
}
const swatch = (color, text, line) => `<span class="key"><i class="${line ? "line" : "box"}" `
  + `style="${line ? `border-top:2.5px ${line} ${color}` : `background:${color}`}"></i>${text}</span>`;

function drawSpeedup() {
  const {K, context, rates, unsure} = state, curves = [], legend = [], full = [];
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
    if (chosen) curves.unshift({x, y: values.map(v => v.upper), band: values.map(v => v.lower), color});
    if (most < model.lastBatch) full.push([most, values[values.length - 1].speedup, color]);
    curves.push({x, y: values.map(v => v.speedup), color, dash, width: chosen ? 2.6 : 1.5,
      said: `batch %{x}: %{y:.2f}×<extra>${short(one)} context</extra>`});
    legend.push(swatch(color, short(one), line));
  }
  const y = curves.flatMap(({y, band}) => band ? [...y, ...band] : y);
  const least = 0.95 * Math.min(0.6, ...y), old = charts["speedup-plot"]?.y.range[0];
  const low = old <= least && old > least - (moving ? 1 : 0.3) ? old : Math.floor(10 * least) / 10 - 0.04;
  const cross = K ? model.crossovers(K, context, rates, unsure).speedup : null;
  put("speedup-legend", `context ${legend.join("")}<span class="key"><b class="tick"></b>memory full</span>`);
  const ticks = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
  frame("speedup-plot", {label: "batch", type: "log", range: [-0.02, Math.log10(1100)],
    tickvals: sizes["speedup-plot"][0] < 420 ? ticks.filter((_, at) => at % 2 === 0) : ticks},
  {range: [low, end("speedup-plot", "y", 1.05 * Math.max(1.3, ...y))], ticksuffix: "×", nticks: 7});
  showCurves("speedup-plot", curves, ({width, height, px, py}) => lineOf(0, py(1), width, py(1), COLORS.ink)
    + textAt(4, py(1) + 13, "plain decoding", "start")
    + full.map(([x, y, color]) => `<line class="tick" x1="${px(x)}" x2="${px(x)}" y1="${py(y) - 9}" y2="${py(y) + 9}" `
      + `stroke="${color}"/>`).join("")
    + (cross > 1 ? lineOf(px(cross), 0, px(cross), height, COLORS.bad, DASHES.dot)
      + textAt(px(cross) + (cross > 40 ? -5 : 5), 13, `plain wins from ${cross}`, cross > 40 ? "end" : "start", COLORS.bad)
      : ""));
}

function markSpeedup(now) {
  mark("speedup-plot", [{x: state.batch, y: now.speedup, color: COLORS.blue}]);
}

function drawParts(now, i) {
  const {K, context} = state, plain = model.parts(0, i, context), cycle = model.parts(K, i, context);
  const rows = [["plain step", "1 token", plain, 1]];
  if (K) rows.push(["cycle", `${two(now.tau)} tokens`, cycle, 1], ["cycle", "per token", cycle, now.tau]);
  const longest = 1.16 * Math.max(plain.total, cycle.total), room = sizes["parts-plot"][0] - 92;  // pixels
  const said = rows.map(([name, under, parts, tau]) => `${name}, ${under}: ${three(1e3 * parts.total / tau)} ms`);
  byId("parts-plot").setAttribute("aria-label", said.join("; "));
  byId("parts-plot").innerHTML = rows.map(([name, under, parts, tau]) => {
    const pieces = PARTS.map(([key, label, color, ink]) => {
      const share = parts[key] / tau / longest, ms = three(1e3 * parts[key] / tau);
      return `<i style="width:${(100 * share).toFixed(2)}%;background:${color};color:${ink}" `
        + `title="${label}: ${ms} ms">${share * room > 34 ? ms : ""}</i>`;
    });
    return `<div class="bar"><span>${name}<small>${under}</small></span>`
      + `<div>${pieces.join("")}<b>${three(1e3 * parts.total / tau)} ms</b></div></div>`;
  }).join("");
  put("parts-legend", PARTS.map(([, name, color]) => swatch(color, name)).join(""));
}

function drawRoofline() {
  const {peak_flop_per_s: peak, bytes_per_s: rate} = model.data.device, tera = 1e12;
  const ridge = peak / rate, last = Math.max(2000, 4 * ridge), ticks = [1, 10, 100, 1000, 10000];
  frame("roofline-plot",
    {label: "FLOP per byte moved", type: "log", range: [Math.log10(0.5), Math.log10(last)], tickvals: ticks},
    {label: "TFLOP/s", type: "log", range: [Math.log10(0.4 * rate / tera), Math.log10(3 * peak / tera)], tickvals: ticks});
  showCurves("roofline-plot",
    [{x: [0.5, ridge, last], y: [0.5 * rate / tera, peak / tera, peak / tera], color: COLORS.ink, width: 1.5}],
    ({px, py}) => textAt(px(ridge), py(peak / tera) - 5, `bound by compute right of ${Math.round(ridge)}`, "end")
      + textAt(px(3) - 4, py(3 * rate / tera) - 4, `${two(rate / tera)} TB/s`, "end"));
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
    const at = PARETO.filter(b => b <= most).map(b => model.index(b));
    const rate = at.map(one => { const v = model.at(shape, one, context, rates, 0); return v.tau / v.cycle; });
    legend.push(swatch(color, name, "solid"));
    return {x: rate, y: at.map((one, n) => model.batches[one] * rate[n] / ranks), dots: true, color, width,
      names: at.map(one => model.batches[one]),
      said: `batch %{text}: %{x:.0f} per user, %{y:.0f} per GPU<extra>${name}</extra>`};
  };
  const curves = [curve(0, "plain", COLORS.soft, 2)];
  if (K) curves.push(curve(K, legendName(K), COLORS.blue, 2.6));
  if (best && best !== K && model.most(best, context) > 0) curves.push(curve(best, `${legendName(best)}, best here`, COLORS.good, 1.6));
  const ends = ["x", "y"].map(axis => end("pareto-plot", axis, 1.04 * Math.max(1, ...curves.flatMap(one => one[axis]))));
  put("pareto-legend", legend.join(""));
  frame("pareto-plot", {label: "tokens/s per user", range: [0, ends[0]], nticks: 6},
    {label: "tokens/s per GPU", range: [0, ends[1]], nticks: 6});
  showCurves("pareto-plot", curves);
}

function markPareto(now) {
  const {K, batch} = state, rate = now.tau / now.cycle, color = K ? COLORS.blue : COLORS.soft;
  mark("pareto-plot", [{x: rate, y: batch * rate / model.data.tp, color, text: `batch ${batch}`}]);
}
