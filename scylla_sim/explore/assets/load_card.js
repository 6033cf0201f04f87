// The part of the page on latency under load: sliders of rate and lengths, two charts, and a sentence.
"use strict";

let load = null, loadAsked = "";
const RATES = 48;  // points of a curve

// Tables of prompts come with the exported file, and from the server when this part of the page is first seen.
async function readyLoad() {
  if (model.data.load) {
    load ??= new Load(model, model.data.load);
    return load.model === model;
  }
  const query = String(deploymentQuery());
  if (load !== null && load.model === model) return true;
  if (loadAsked === query) return false;
  loadAsked = query;
  const asked = model, {ok, text} = await ask(`/load?${query}`);
  loadAsked = "";
  if (!ok) { put("load-headline", escaped(text)); return false; }
  if (model.data.options !== asked.data.options) return false;  // another deployment; a finer grid keeps them
  load = new Load(model, JSON.parse(text));
  return true;
}

function loadCurves() {
  const {K, rates, unsure, input, output} = state, tau = model.tau(K, rates, unsure)[0];
  const curves = [{shape: 0, name: "plain", color: COLORS.soft, curve: load.curve(0, 1, input, output)}];
  if (K) curves.push({shape: K, name: shapeName(K), color: COLORS.blue, curve: load.curve(K, tau, input, output)});
  return curves;
}

function loadHeadline(curves, rate) {
  const [plain, drafted] = curves, {input, output} = state, ours = drafted ?? plain;
  if (ours.curve === null || plain.curve === null)
    return `Two requests of ${whole(input + output)} tokens do not fit in the memory of ${memory()}.`;
  const full = curve => `${three(curve.saturation)} requests/s`;
  const [now, before] = [load.latencies(ours.curve, rate), load.latencies(plain.curve, rate)];
  const limit = drafted ? `It saturates at ${full(ours.curve)}, plain decoding at ${full(plain.curve)}.`
    : `It saturates at ${full(plain.curve)}.`;
  if (now === null) return `${capital(ours.name)} cannot serve ${three(rate)} requests/s. ${limit}`;
  const beside = key => !drafted ? "" : before === null ? " (plain: the queue grows for ever)"
    : ` (plain ${seconds(before[key])})`;
  return `At ${three(rate)} requests/s, ${ours.name} has a TTFT p95 of ${seconds(now.ttft95)}${beside("ttft95")} and a `
    + `TPOT p95 of ${seconds(now.tpot95)}${beside("tpot95")}. ${limit}`;
}

// Where the formulas do not hold, as `scylla_sim.serving.replica.doubtful` finds it.
function doubts(K, now) {
  const {input, output} = state, [, , width] = model.shapes[K], context = Math.max(Math.round(input + 0.5 * output), 1);
  const {budget, max_num_seqs: seats, highest} = load.data, rows = Math.min(now.tail, seats);
  const pool = 0.5 * (model.most(K, context) + model.most(K, context, "most_upper")) * context;
  const late = now.waits > SHORT_WAIT, small = pool < seats * (context + width);
  return [[input + width * rows > budget, "the token budget"],
    [rows * (context + width) > pool || late && small, "the KV pool"],
    [now.tail > seats || late && !small, "the seats"], [now.share > highest, `a load above ${100 * highest} %`]]
    .filter(([holds]) => holds).map(([, text]) => text);
}

function drawLoad() {
  const curves = loadCurves(), {K, input, output} = state, last = curves[curves.length - 1].curve;
  const highest = Math.max(...curves.map(({curve}) => curve === null ? 0 : curve.saturation));
  if (!state.rate && highest > 0) state.rate = Number((highest / 2).toPrecision(2));
  const rate = state.rate;
  byId("request-rate").max = 1000;
  byId("request-rate").value = highest > 0 ? toSlider(Math.max(rate, highest / 100), highest / 100, 1.1 * highest) : 0;
  byId("request-rate-value").textContent = `${three(rate)} / s`;
  byId("input").value = toSlider(input, LENGTHS.input[0], LENGTHS.input[1]);
  byId("output").value = toSlider(output, LENGTHS.output[0], LENGTHS.output[1]);
  byId("input-value").textContent = whole(input);
  byId("output-value").textContent = whole(output);
  speakSliders(["request-rate", "input", "output"]);
  loadRange = [highest / 100, 1.1 * highest];
  put("load-headline", escaped(loadHeadline(curves, rate)));
  put("load-command", unbroken(command("serve-sim",
    [`--rate ${Number(rate.toPrecision(4))}/s`, `--input-len ${input}`, `--output-len ${output}`])));
  put("load-legend", curves.map(({shape, color}) => swatch(color, legendName(shape), "solid")).join("")
    + swatch(COLORS.soft, "median", "solid") + swatch(COLORS.soft, "95 %", "dashed"));
  const now = last && load.latencies(last, rate), reasons = now ? doubts(K, now) : [], {error} = load.data;
  byId("load-note").textContent = "Poisson arrivals, one replica, one length of prompts and answers; formulas without an "
    + "interval, up to 90 % of saturation. "
    + (reasons.length ? `They do not hold here because of ${reasons.join(" and ")}: run serve-sim. ` : "")
    + (error ? `Against the package at ${error.loads} loads, the page errs by at most ${(100 * error.ttft).toFixed(1)} % `
      + `(TTFT) and ${(100 * error.tpot).toFixed(1)} % (TPOT).` : "");
  for (const [id, key, label] of [["ttft-plot", "ttft", "TTFT (ms)"], ["tpot-plot", "tpot", "TPOT (ms)"]])
    drawLatency(id, key, label, curves, highest);
}

// Latencies along the loads of a curve, kept with it.
const sampled = curve => curve.sampled ??= Array.from({length: RATES}, (_, i) => {
  const rate = load.data.highest * curve.saturation * (i + 0.2) / (RATES - 0.8);
  return {rate, ...load.latencies(curve, rate)};
});

function drawLatency(id, key, label, curves, highest) {
  const lines = [], {rate} = state, points = [];
  let top = 0;
  for (const {name, color, curve} of curves) {
    if (curve === null) continue;
    const found = sampled(curve), here = load.latencies(curve, rate);
    for (const [which, dash] of [["50", "solid"], ["95", "dash"]]) {
      const y = found.map(one => 1e3 * one[key + which]);
      top = Math.max(top, y[Math.floor(0.9 * y.length)]);
      lines.push({x: found.map(one => one.rate), y, color, dash,
        said: `%{x:.3g}/s: %{y:.3g} ms<extra>${name}, ${which === "50" ? "median" : "95 %"}</extra>`});
      if (here !== null) points.push({x: rate, y: 1e3 * here[key + which], color});
    }
  }
  frame(id, {label: "requests/s", range: [0, end(id, "x", highest || 1)], nticks: 6},
    {label, range: [0, end(id, "y", 1.25 * Math.max(top, ...points.map(({y}) => y), 1))], nticks: 6});
  showCurves(id, lines, ({height, px}) => lineOf(px(rate), 0, px(rate), height, COLORS.soft, DASHES.dot));
  mark(id, points);
}
