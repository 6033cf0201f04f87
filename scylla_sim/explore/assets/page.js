// State, text and charts of the page. The arithmetic is in model.js.
"use strict";

const byId = id => document.getElementById(id);
const COLORS = {ink: "#1b2733", soft: "#7a8793", blue: "#0b62a4", good: "#0a7554", bad: "#b0380a"};
const PARTS = [
  ["draft", "draft", "#e69f00"], ["gemm", "GEMM", "#0b62a4"], ["attention", "attention", "#56b4e9"],
  ["other", "other kernels", "#aab4bd"], ["engine", "engine", "#c2571a"],
];
const PRESETS = [
  ["Chat, few users", {batch: 4, context: 1024, rates: [0.72]}],
  ["Busy server", {batch: 256, context: 1024, rates: [0.62]}],
  ["Long documents", {batch: 16, context: 24000, rates: [0.65]}],
  ["A poor draft", {batch: 32, context: 2048, rates: [0.4]}],
];
const QUESTIONS = [
  ["Lower acceptance from 0.8 to 0.4: where does the gain vanish?", {batch: 64, context: 2048, rates: [0.8], K: 5},
    "Drag the acceptance left. The batch from which plain decoding wins moves in, and the best K falls with it."],
  ["Is a long context good or bad for drafting?", {batch: 64, context: 512, rates: [0.62], K: 3},
    "Drag the context right. One read of the cache serves every verified token, so the gain grows. Memory admits "
    + "fewer requests."],
  ["Why does K = 5 lose on a busy server?", {batch: 256, context: 1024, rates: [0.62], K: 5},
    "Look at the roofline: verification has left the slope. GEMM time grew with the verified tokens, the tokens "
    + "per cycle hardly did."],
];
const state = {batch: 16, context: 1024, rates: [0.62], unsure: 0, K: 3};
let model = new Model(START);

// -- numbers as text ------------------------------------------------------------------------------------------
const thin = text => text.replace(/\B(?=(\d{3})+(?!\d))/g, "\u2009");
const three = x => x >= 1000 ? thin(String(Math.round(Number(x.toPrecision(3)))))
  : x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2);
const two = x => x.toFixed(2);
const times = x => `${two(x)}×`;
const whole = x => thin(String(Math.round(x)));
const short = x => x >= 1024 && x % 1024 === 0 ? `${x / 1024}k` : x >= 10000 ? `${Math.round(x / 1000)}k` : whole(x);
const escaped = text => text.replace(/[&<>"]/g, c => ({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})[c]);

// -- state in the address -------------------------------------------------------------------------------------
function readAddress() {
  for (const pair of location.hash.slice(1).split("&")) {
    const [key, value] = pair.split("=");
    if (key === "rates") setRates(decodeURIComponent(value || ""));
    else if (key in state && value !== "" && isFinite(Number(value))) state[key] = Number(value);
  }
  limitState();
}

function limitState() {
  const {contexts, batches} = model;
  state.batch = batches[model.index(Math.min(Math.max(1, state.batch), model.lastBatch))];
  state.context = Math.min(Math.max(contexts[0], Math.round(state.context)), contexts[contexts.length - 1]);
  state.K = Math.min(Math.max(0, Math.round(state.K)), model.lengths - 1);
  state.unsure = Math.min(Math.max(0, state.unsure), 0.5);
}

function writeAddress() {
  const text = Object.entries(state).map(([key, value]) => `${key}=${value}`).join("&");
  try { history.replaceState(null, "", `#${text}`); } catch { /* a page inside another page has no history */ }
}

function setRates(text) {
  const rates = text.split(",").map(part => part.trim()).filter(Boolean).map(Number);
  const good = rates.length > 0 && rates.every(rate => rate >= 0 && rate <= 1);
  if (good) state.rates = rates;
  byId("rates-note").textContent = good || text.trim() === "" ? "" : "Rates must be numbers from 0 to 1, with commas.";
  return good;
}

// -- choices of the deployment --------------------------------------------------------------------------------
const CHOICES = [["model", "Model"], ["hardware", "GPU"], ["tp", "GPUs (TP)"], ["precision", "Precision"],
  ["draft", "Draft"], ["engine", "Engine"]];

function showChoices() {
  const offered = model.data.choices;
  byId("choices").innerHTML = CHOICES.map(([key, label]) => {
    const current = String(model.data[key]), items = offered ? offered[key] : [[current, ""]];
    const known = items.some(([name]) => name === current) ? items : [[current, ""], ...items];
    const options = known.map(([name, reason]) => `<option value="${escaped(name)}"`
      + `${name === current ? " selected" : ""}${reason ? " disabled" : ""}>`
      + `${escaped(name)}${reason ? ` - ${escaped(reason)}` : ""}</option>`).join("");
    return `<label>${label}<select id="choice-${key}"${offered ? "" : " disabled"}>${options}</select></label>`;
  }).join("") + (offered ? "" : '<p class="note">This file holds one deployment. <code>scylla-sim explore</code> '
    + "serves all of them.</p>");
  if (offered) for (const [key] of CHOICES) byId(`choice-${key}`).onchange = changeDeployment;
}

async function changeDeployment() {
  const query = new URLSearchParams(CHOICES.map(([key]) => [key, byId(`choice-${key}`).value]));
  const began = performance.now(), answer = await fetch(`/data?${query}`);
  if (!answer.ok) { byId("summary").innerHTML = `<span class="problem">${escaped(await answer.text())}</span>`; return; }
  model = new Model(await answer.json());
  limitState();
  showChoices();
  showLengths();
  draw();
  document.body.dataset.deploymentMs = performance.now() - began;
}

function showLengths() {
  byId("lengths").innerHTML = model.data.grid.lengths.map(K => `<button type="button" data-length="${K}"></button>`).join("");
  for (const button of document.querySelectorAll("[data-length]"))
    button.onclick = () => { state.K = Number(button.dataset.length); draw(); };
}

// -- text -----------------------------------------------------------------------------------------------------
function headline(now, i) {
  const {K, batch, context, rates, unsure} = state;
  if (model.most(K, context) < 1) {
    const gpus = model.data.tp > 1 ? `${model.data.tp} ${model.data.hardware}` : `one ${model.data.hardware}`;
    return `<span class="bad">The model and one request of ${whole(context)} tokens do not fit in the memory of ${gpus}.</span>`;
  }
  if (K === 0) {
    const best = model.best(i, context, rates);
    const advice = best === 0 ? "Do not speculate here."
      : `K = ${best} would be <span class="good">${times(model.at(best, i, context, rates, 0).speedup)}</span> as fast.`;
    return `Plain decoding takes ${three(1e3 * now.plain)} ms a token at batch ${batch}. ${advice}`;
  }
  const interval = `<span class="interval">[${two(now.lower)}-${two(now.upper)}]</span>`;
  const verdict = now.slower > SLOWER_ABOVE ? `is <span class="bad">slower, ${times(now.speedup)}</span> ${interval}`
    : now.slower >= FASTER_BELOW ? `is about as fast, ${times(now.speedup)} ${interval}`
    : `is <span class="good">${times(now.speedup)} faster</span> ${interval}`;
  const cross = model.crossover(K, context, rates, unsure);
  const end = cross === null ? "drafting pays at every batch that fits" : cross === 1 ? "drafting pays at no batch"
    : `drafting ${batch < cross ? "stops" : "stopped"} paying at batch ${cross}`;
  return `K = ${K} ${verdict} at batch ${batch}; ${end}.`;
}

function summary(i) {
  const {data} = model, {K, context, rates, batch} = state, best = model.best(i, context, rates);
  const gpus = data.tp > 1 ? `${data.tp} ${data.hardware}` : data.hardware, most = model.most(K, context);
  const other = best === K ? "No other K is faster here" : best === 0 ? "Plain decoding is the fastest here"
    : `K = ${best} would be ${times(model.at(best, i, context, rates, 0).speedup)}`;
  const full = batch > most && most > 0
    ? ` <span class="problem">${batch} requests do not fit in memory: ${whole(most)} do.</span>` : "";
  return `${escaped(data.model)} on ${gpus}, ${data.precision}, draft ${escaped(data.draft)}, ${data.engine}, `
    + `${whole(context)} tokens of context. ${other}.${full}`;
}

function facts(now, i) {
  const {K, context, rates, unsure, batch} = state, part = model.parts(K, i, context);
  const last = Math.min(model.most(K, context), model.lastBatch);
  const [cross, early, late] = ["speedup", "lower", "upper"].map(key => model.crossover(K, context, rates, unsure, key));
  const pays = K === 0 ? undefined : cross === null ? `none to ${whole(last)}`
    : `${cross} <small>[${early ?? "?"}-${late === null ? `${last}+` : late}]</small>`;
  const from = K === 0 ? null : contextThatPays(K, i);
  const {kernels, engine} = model.data.evidence;
  const items = [
    [`${three(1e3 * now.cycle / now.tau)} ms`, `per token (${three(1e3 * now.plain)} plain)`],
    [three(batch * now.tau / now.cycle), `tokens/s (${three(batch / now.plain)} plain)`],
    [pays ?? "-", "batch from which plain decoding wins"],
    [K === 0 ? "-" : from === null ? "no context" : from <= model.contexts[0] ? "any context" : `from ${short(from)}`,
      "contexts where drafting pays at this batch"],
    [`${short(model.most(K, context))} <small>(${short(model.most(0, context))} plain)</small>`,
      "requests that fit in memory"],
    [`${(100 * part.engine / part.total).toFixed(0)} %`, `engine overhead (${engine}); kernels: ${kernels}`],
  ];
  byId("facts").innerHTML = items.map(([value, text]) => `<div class="fact"><b>${value}</b><span>${text}</span></div>`).join("");
}

function contextThatPays(K, i) {  // shortest context with a speed-up above 1 whose batch fits
  const [first, last] = [model.contexts[0], model.contexts[model.contexts.length - 1]];
  for (let step = 0; step <= 48; step++) {
    const context = Math.round(first * (last / first) ** (step / 48));
    if (model.most(K, context) < model.batches[i]) return null;
    if (model.at(K, i, context, state.rates, 0).speedup > 1) return context;
  }
  return null;
}

function showSettings() {
  const {settings, options} = model.data, {K, context, rates, batch} = state;
  const ranges = model.schedule(context, rates), lengths = ranges.map(range => range[2]);
  const drafts = lengths.some(length => length > 0);
  let text = settings.reason;
  if (settings.fixed.length > 0) {
    if (!drafts) text = "Leave speculation off: plain decoding is the fastest.";
    else if (ranges.length > 1 && settings.by_batch)
      text = settings.by_batch.replace("@LONGEST@", Math.max(...lengths)).replace("@RANGES@", JSON.stringify(ranges).replace(/,/g, ", "));
    else text = settings.fixed[Math.max(model.best(model.index(batch), context, rates), 1) - 1];
  }
  byId("settings").textContent = text;
  byId("settings-notes").innerHTML = settings.notes.map(note => `<p class="note">${escaped(note)}</p>`).join("");
  const named = Object.entries(options).map(([name, value]) => `--${name} ${value}`);
  named.push(`--draft-len ${Math.max(K, 1)}`, `--acceptance ${rates.join(",")}`, `--batch ${batch}`, `--context ${context}`);
  const lines = ["scylla-sim predict"];
  for (const word of named)
    if ((lines[lines.length - 1] + word).length > 66) lines.push(`    ${word}`); else lines[lines.length - 1] += ` ${word}`;
  byId("command").textContent = lines.join(" \\\n");
}

function showMeasured() {
  const rows = model.data.measured, {batch, context, K} = state;
  const distance = row => Math.abs(Math.log(row.batch / batch)) + Math.abs(Math.log(row.context / context)) + Math.abs(row.draft_len - K) / 3;
  const row = rows.reduce((best, one) => best === null || distance(one) < distance(best) ? one : best, null);
  if (row === null) {
    byId("measured").textContent = "No published run of this deployment: nothing to compare with.";
    return;
  }
  const error = 100 * (row.predicted / row.measured - 1), far = Math.abs(Math.log(row.batch / batch)) + Math.abs(Math.log(row.context / context)) > Math.LN2;
  byId("measured").innerHTML = `Nearest measured row${far ? " (not near)" : ""}: K = ${row.draft_len}, batch ${row.batch}, `
    + `context ${row.context}, ${row.engine}: measured ${times(row.measured)}, predicted ${times(row.predicted)}, `
    + `<b>${error > 0 ? "+" : ""}${error.toFixed(1)} %</b> (${escaped(row.source)}).`;
}

// -- charts ---------------------------------------------------------------------------------------------------
const AXIS = {gridcolor: "#edf0f3", zeroline: false};
const CONFIG = {displayModeBar: false, responsive: true};
function layout(x, y, more) {
  return {margin: {l: 50, r: 12, t: 8, b: 38}, hovermode: "closest", showlegend: false, paper_bgcolor: "#fff", plot_bgcolor: "#fff",
    font: {family: "Segoe UI, Roboto, Helvetica Neue, Liberation Sans, Arial, sans-serif", size: 12, color: COLORS.ink},
    xaxis: {...AXIS, ...x, title: {text: x.label, standoff: 6}}, yaxis: {...AXIS, ...y, title: {text: y.label || "", standoff: 6}}, ...more};
}
const small = color => ({size: 10.5, color});

function drawSpeedup(now) {
  const {K, context, rates, unsure, batch} = state, traces = [], legend = [];
  const contexts = [512, context, 16384].filter((one, at) => at === 1 || Math.abs(Math.log(one / context)) > 0.3)
    .filter(one => one <= model.contexts[model.contexts.length - 1]).sort((a, b) => a - b);
  for (const one of contexts) {
    const most = Math.min(model.most(K, one), model.lastBatch);
    if (most < 1) continue;
    const at = model.batches.map((b, i) => i).filter(i => model.batches[i] <= most && (i < 64 || i % (i < 256 ? 4 : 8) === 0 || model.batches[i] === most));
    const values = at.map(i => model.at(K, i, one, rates, unsure)), x = at.map(i => model.batches[i]), chosen = one === context;
    const [color, dash] = chosen ? [COLORS.blue, "solid"] : one < context ? [COLORS.soft, "dot"] : [COLORS.good, "dash"];
    if (chosen) traces.push({x: [...x, ...x.slice().reverse()], y: [...values.map(v => v.upper), ...values.map(v => v.lower).reverse()],
      fill: "toself", fillcolor: "rgba(11,98,164,.14)", line: {width: 0}, mode: "lines", hoverinfo: "skip"});
    traces.push({x, y: values.map(v => v.speedup), mode: "lines", line: {color, dash, width: chosen ? 2.6 : 1.5},
      hovertemplate: `batch %{x}: %{y:.2f}×<extra>${short(one)} context</extra>`});
    if (most < model.lastBatch) traces.push({x: x.slice(-1), y: [values[values.length - 1].speedup], mode: "markers",
      marker: {symbol: "line-ns-open", size: 11, color, line: {width: 2}}, hovertemplate: `memory is full at ${most}<extra></extra>`});
    legend.push(`<span style="color:${color}">${chosen ? "━" : one < context ? "┈" : "╌"} ${short(one)}</span>`);
  }
  traces.push({x: [batch], y: [now.speedup], mode: "markers", marker: {size: 10, color: COLORS.blue, line: {color: "#fff", width: 2}}, hoverinfo: "skip"});
  const y = traces.flatMap(trace => trace.y), cross = K ? model.crossover(K, context, rates, unsure) : null;
  const shapes = [{type: "line", xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1, line: {color: COLORS.ink, width: 1}}];
  const notes = [{x: 0, y: 1, xref: "paper", text: "plain decoding", showarrow: false, xanchor: "left", yanchor: "top", font: small(COLORS.soft)}];
  if (cross > 1) {
    shapes.push({type: "line", x0: cross, x1: cross, yref: "paper", y0: 0, y1: 1, line: {color: COLORS.bad, width: 1, dash: "dot"}});
    notes.push({x: Math.log10(cross), y: 1, yref: "paper", text: `plain wins from ${cross}`, showarrow: false, xanchor: cross > 40 ? "right" : "left", yanchor: "top", font: small(COLORS.bad)});
  }
  byId("speedup-legend").innerHTML = `context: ${legend.join(" &nbsp;")} &nbsp;| memory full`;
  const ticks = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
  Plotly.react("speedup-plot", traces, layout({label: "batch", type: "log", range: [0, Math.log10(1100)], tickvals: ticks},
    {range: [Math.min(0.6, ...y) * 0.95, Math.max(1.3, ...y) * 1.05], ticksuffix: "×"}, {shapes, annotations: notes}), CONFIG);
}

function drawParts(now, i) {
  const {K, context} = state, plain = model.parts(0, i, context), cycle = model.parts(K, i, context);
  const rows = ["plain step<br>1 token", `cycle, K = ${K}<br>${two(now.tau)} tokens`, "cycle<br>per token"];
  const of = name => [plain[name], cycle[name], cycle[name] / now.tau].map(seconds => 1e3 * seconds), totals = of("total");
  const longest = Math.max(...totals);
  byId("parts-legend").innerHTML = PARTS.map(([, name, color]) => `<span style="white-space:nowrap"><span style="color:${color}">■</span> ${name}</span>`).join(" &nbsp;");
  const traces = PARTS.map(([key, name, color]) => ({type: "bar", orientation: "h", name, y: rows, x: of(key), marker: {color},
    text: of(key).map(ms => ms > 0.07 * longest ? three(ms) : ""), textposition: "inside", insidetextanchor: "middle", textangle: 0,
    hovertemplate: `${name} %{x:.3f} ms<extra></extra>`}));
  const annotations = totals.map((ms, at) => ({y: rows[at], x: ms, text: `<b> ${three(ms)}</b>`, showarrow: false, xanchor: "left"}));
  Plotly.react("parts-plot", traces, layout({label: "ms", range: [0, 1.14 * longest]}, {autorange: "reversed"},
    {barmode: "stack", bargap: 0.35, margin: {l: 86, r: 10, t: 8, b: 38}, annotations}), CONFIG);
}

function drawRoofline(i) {
  const {K, context} = state, {peak_flop_per_s: peak, bytes_per_s: rate} = model.data.device, tera = 1e12, ridge = peak / rate;
  const plain = model.roofline(0, i, context), verify = model.roofline(K, i, context), last = Math.max(2000, 4 * ridge);
  const point = (at, text, color) => ({x: [at.intensity], y: [at.rate / tera], mode: "markers+text", text: [text], textposition: "bottom right",
    textfont: {color}, marker: {size: 11, color}, hovertemplate: `${text}: %{x:.3g} FLOP/byte, %{y:.3g} TFLOP/s<extra></extra>`});
  const traces = [
    {x: [0.5, ridge, last], y: [0.5 * rate / tera, peak / tera, peak / tera], mode: "lines", line: {color: COLORS.ink, width: 1.5}, hoverinfo: "skip"},
    {x: [plain.intensity, verify.intensity], y: [plain.rate / tera, verify.rate / tera], mode: "lines", line: {color: COLORS.soft, width: 1, dash: "dot"}, hoverinfo: "skip"},
    point(plain, "plain", COLORS.soft)];
  if (K) traces.push(point(verify, `verify ${K + 1} tokens`, COLORS.blue));
  const annotations = [
    {x: Math.log10(ridge), y: Math.log10(peak / tera), text: `ridge ${Math.round(ridge)}: bound by compute to the right`, showarrow: false, yanchor: "bottom", xanchor: "right", font: small(COLORS.soft)},
    {x: Math.log10(3), y: Math.log10(3 * rate / tera), text: `${two(rate / tera)} TB/s`, showarrow: false, xanchor: "right", yanchor: "bottom", font: small(COLORS.soft)}];
  const ticks = [1, 10, 100, 1000, 10000];
  Plotly.react("roofline-plot", traces, layout({label: "FLOP per byte moved", type: "log", range: [Math.log10(0.5), Math.log10(last)], tickvals: ticks},
    {label: "TFLOP/s", type: "log", range: [Math.log10(0.4 * rate / tera), Math.log10(3 * peak / tera)], tickvals: ticks}, {margin: {l: 54, r: 12, t: 8, b: 38}, annotations}), CONFIG);
}

function drawPareto(now, i) {
  const {K, context, rates, batch} = state, best = model.best(i, context, rates), gpus = model.data.tp;
  const curve = (length, name, color, width) => {
    const most = Math.min(model.most(length, context), model.lastBatch);
    const at = [1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024].filter(b => b <= Math.max(1, most)).map(b => model.index(b));
    const rate = at.map(one => { const v = model.at(length, one, context, rates, 0); return v.tau / v.cycle; });
    return {x: rate, y: at.map((one, n) => model.batches[one] * rate[n] / gpus), text: at.map(one => model.batches[one]), mode: "lines+markers", name,
      line: {color, width}, marker: {size: 4.5}, hovertemplate: `batch %{text}: %{x:.0f} per user, %{y:.0f} per GPU<extra>${name}</extra>`};
  };
  const traces = [curve(0, "plain", COLORS.soft, 2)];
  if (K) traces.push(curve(K, `K = ${K}`, COLORS.blue, 2.6));
  if (best && best !== K) traces.push(curve(best, `K = ${best} (best here)`, COLORS.good, 1.6));
  traces.push({x: [now.tau / now.cycle], y: [batch * now.tau / now.cycle / gpus], text: [`batch ${batch}`], mode: "markers+text", textposition: "top right",
    marker: {size: 11, color: K ? COLORS.blue : COLORS.soft, line: {color: "#fff", width: 2}}, showlegend: false, hoverinfo: "skip", cliponaxis: false});
  Plotly.react("pareto-plot", traces, layout({label: "tokens/s per user", rangemode: "tozero"}, {label: "tokens/s per GPU", rangemode: "tozero"},
    {showlegend: true, legend: {x: 1, xanchor: "right", y: 1, bgcolor: "rgba(255,255,255,.7)"}, margin: {l: 62, r: 12, t: 8, b: 38}}), CONFIG);
}

// -- one redraw -----------------------------------------------------------------------------------------------
const toSlider = (value, low, high) => 1000 * Math.log(value / low) / Math.log(high / low);
const fromSlider = (at, low, high) => low * (high / low) ** (at / 1000);

function draw() {
  const began = performance.now(), i = model.index(state.batch), {K, context, rates, unsure, batch} = state;
  const now = model.at(K, i, context, rates, unsure), last = model.contexts[model.contexts.length - 1];
  byId("batch").value = toSlider(batch, 1, model.lastBatch);
  byId("context").value = toSlider(context, model.contexts[0], last);
  byId("rate").value = rates[0];
  byId("unsure").value = unsure;
  byId("batch-value").textContent = batch;
  byId("context-value").textContent = whole(context);
  byId("rate-value").textContent = two(rates[0]);
  byId("unsure-value").textContent = unsure ? `± ${two(unsure)}` : "exact";
  byId("length-value").textContent = K ? `${K}, ${two(now.tau)} tokens a cycle` : "no draft";
  if (document.activeElement !== byId("rates")) byId("rates").value = rates.length > 1 ? rates.join(",") : "";
  const best = model.best(i, context, rates);
  for (const button of document.querySelectorAll("[data-length]")) {
    const length = Number(button.dataset.length);
    button.innerHTML = `${length}<small>${two(model.at(length, i, context, rates, 0).speedup)}</small>`;
    button.className = (length === K ? "chosen " : "") + (length === best ? "best" : "");
  }
  byId("headline").innerHTML = headline(now, i);
  byId("summary").innerHTML = summary(i);
  facts(now, i);
  drawSpeedup(now);
  drawParts(now, i);
  drawRoofline(i);
  drawPareto(now, i);
  showSettings();
  showMeasured();
  const {error, law, notes} = model.data, shared = model.lengths > 1
    ? `Between grid points the speed-up is interpolated: at ${error.points} random points it is at most ${(100 * error.speedup).toFixed(1)} % off, `
      + `and the ends of its interval ${(100 * error.band).toFixed(1)} %. Later positions follow ${law.text}. ` : "";
  byId("footnote").textContent = `Batches 1 to ${model.lastBatch}, contexts ${short(model.contexts[0])} to ${short(last)}. ${shared}`
    + "The 90 % interval covers kernels, engine versions, differences between deployments and acceptance. Decoding only: no prefill, no queue. "
    + notes.join(". ");
  writeAddress();
  document.body.dataset.drawMs = performance.now() - began;
}

let waiting = false;
function drawSoon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

function listen() {
  const onInput = (id, change) => { byId(id).oninput = event => { change(event.target.value); limitState(); drawSoon(); }; };
  onInput("batch", at => { state.batch = Math.round(fromSlider(at, 1, model.lastBatch)); });
  onInput("context", at => {
    const value = fromSlider(at, model.contexts[0], model.contexts[model.contexts.length - 1]), power = 2 ** Math.round(Math.log2(value));
    state.context = Math.abs(value / power - 1) < 0.04 ? power : Number(value.toPrecision(2));
  });
  onInput("rate", value => { state.rates = [Number(value)]; });
  onInput("unsure", value => { state.unsure = Number(value); });
  byId("rates").oninput = event => { if (setRates(event.target.value)) drawSoon(); };
  const links = (id, items) => {
    byId(id).innerHTML = items.map(([text], at) => `<button type="button" data-at="${at}">${text}</button>`).join("");
    for (const button of byId(id).children) button.onclick = () => {
      const [, given, answer] = items[button.dataset.at];
      Object.assign(state, given);
      limitState();
      if (!("K" in given)) state.K = model.best(model.index(state.batch), state.context, state.rates);
      byId("answer").hidden = !answer;
      byId("answer").textContent = answer || "";
      draw();
    };
  };
  links("presets", PRESETS);
  links("questions", QUESTIONS);
  if (START.choices) {
    document.addEventListener("dragover", event => { event.preventDefault(); document.body.classList.add("dropping"); });
    document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
    document.addEventListener("drop", readDropped);
  }
}

async function readDropped(event) {  // a log or a metrics page: the server reads it as `scylla-sim ingest` does
  event.preventDefault();
  document.body.classList.remove("dropping");
  const file = event.dataTransfer.files[0];
  if (!file) return;
  const answer = await fetch("/ingest", {method: "POST", body: file}), text = await answer.text();
  byId("rates-note").textContent = answer.ok ? `read from ${file.name}` : text;
  if (answer.ok) { state.rates = JSON.parse(text).rates; draw(); }
}

showChoices();
showLengths();
readAddress();
listen();
draw();
window.onhashchange = () => { readAddress(); draw(); };
