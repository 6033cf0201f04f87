// State, choices and the redraw of the page. The arithmetic is in model.js and load.js.
"use strict";

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
  ["Does drafting help when requests queue?", {batch: 32, context: 1100, rates: [0.62], K: 3, rate: 0},
    "Scroll to the load and drag the rate right. Answers end earlier, so fewer requests run at once, until the "
    + "prompts and the verified tokens fill the GPU.", "load-card"],
];
const LENGTHS = {input: [16, 8192], output: [2, 4096]};  // tokens of prompts and answers
const state = {batch: 16, context: 1024, rates: [0.62], unsure: 0, K: 3, rate: 0, input: 1000, output: 200};
let model = new Model(START), loadRange = [0.01, 1];

// -- state in the address -------------------------------------------------------------------------------------
function readAddress() {  // and say what of it the page cannot show
  const given = {}, wrong = [];
  for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
    if (key === "rates" && setRates(value)) continue;
    if (key !== "rates" && Object.hasOwn(state, key) && value !== "" && isFinite(Number(value)))
      given[key] = Number(value);
    else wrong.push(`${key}=${value} in the address is not known`);
  }
  Object.assign(state, given);
  limitState();
  for (const [key, value] of Object.entries(given))
    if (state[key] !== value) wrong.push(`${key}=${value} in the address is not on the page, ${state[key]} is`);
  showProblem(wrong.length ? `${wrong.join("; ").slice(0, 300)}.` : "");
}

function showProblem(text) {
  put("problem", escaped(text));
  byId("problem").hidden = text === "";
}

function limitState() {
  const {contexts} = model, within = (x, low, high) => Math.min(Math.max(low, x), high);
  state.batch = model.batches[model.index(within(state.batch, 1, model.lastBatch))];
  state.context = within(Math.round(state.context), contexts[0], contexts[contexts.length - 1]);
  state.K = within(Math.round(state.K), 0, model.lengths - 1);
  state.unsure = within(state.unsure, 0, 0.5);
  state.rate = within(state.rate, 0, 1e5);
  for (const [name, [low, high]] of Object.entries(LENGTHS)) state[name] = within(Math.round(state[name]), low, high);
}

let addressTimer = 0;
function writeAddress() {  // not at every move of a slider: browsers limit how often an address may change
  clearTimeout(addressTimer);
  addressTimer = setTimeout(() => {
    const text = Object.entries(state).map(([key, value]) => `${key}=${value}`).join("&");
    try { history.replaceState(null, "", `#${text}`); } catch { /* a page inside another page has no history */ }
  }, 200);
}

function setRates(text) {
  const rates = text.split(",").map(part => part.trim()).filter(Boolean).map(Number).slice(0, 64);
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

const deploymentQuery = () => new URLSearchParams(CHOICES.map(([key]) => [key, byId(`choice-${key}`).value]));

// Answer of the server as {ok, text}; without one the page says so and keeps working.
async function ask(path, options) {
  try {
    const answer = await fetch(path, options);
    return {ok: answer.ok, text: await answer.text()};
  } catch {
    return {ok: false, text: "scylla-sim explore does not answer: was it stopped? Sliders work without it."};
  }
}

let deployments = 0;  // asked for; only the last one is drawn
async function changeDeployment(event) {
  const began = performance.now(), mine = ++deployments, query = deploymentQuery();
  if (event?.target.id === "choice-model") query.delete("precision");  // as it is released
  const {ok, text} = await ask(`/data?${query}`);
  if (mine !== deployments) return;
  showProblem(ok ? "" : text);
  if (ok) {
    model = new Model(JSON.parse(text));
    limitState();
  }
  showChoices();  // those of the old one if the new one cannot run
  if (!ok) return;
  showShapes();
  draw();
  document.body.dataset.deploymentMs = performance.now() - began;
  setTimeout(() => { if (mine === deployments) readDetails(); }, 300);  // a visitor who goes on choosing need not wait
}

async function readDetails() {  // what the page can be drawn without: the error of the grid, measured rows
  const asked = model, {ok, text} = await ask(`/details?${deploymentQuery()}`);
  if (!ok || model !== asked) return;
  const found = JSON.parse(text);
  if (found.grid) {
    model = new Model({...model.data, ...found});
    draw();
    return;
  }
  Object.assign(model.data, found);
  put("footnote", escaped(footnote()));
  showMeasured();
}

function showShapes() {
  const button = K => {
    const [length, topK, tokens] = model.shapes[K];
    const title = topK > 1 ? `${length} passes, top-k ${topK}, ${tokens} tokens verified` : `draft length ${length}`;
    return `<button type="button" data-shape="${K}" title="${title}"><b>${topK > 1 ? tokens : length}</b>`
      + "<small></small></button>";
  };
  const all = model.shapes.map((_, K) => button(K)), trees = all.slice(model.chains);
  byId("lengths").innerHTML = all.slice(0, model.chains).join("");
  byId("trees").innerHTML = trees.join("");
  byId("trees-label").hidden = trees.length === 0;
  for (const one of document.querySelectorAll("[data-shape]"))
    one.onclick = () => { state.K = Number(one.dataset.shape); draw(); };
}

// -- one redraw -----------------------------------------------------------------------------------------------
const toSlider = (value, low, high) => 1000 * Math.log(value / low) / Math.log(high / low);
const fromSlider = (at, low, high) => low * (high / low) ** (at / 1000);

// Layers of each card: the state that they show, and how they show it. A layer is drawn if that state or a layer
// below it changed: at once if the card is in sight, else when nothing has changed for a while.
const CARDS = {
  "speedup-card": [[["K", "context", "rates", "unsure"], drawSpeedup], [["batch"], markSpeedup]],
  "parts-card": [[["K", "batch", "context", "rates"], drawParts]],
  "roofline-card": [[[], drawRoofline], [["K", "batch", "context"], (_, i) => markRoofline(i)]],
  "pareto-card": [[["K", "context", "rates", "best"], (now, i, best) => drawPareto(best)], [["batch"], markPareto]],
  "load-card": [[["K", "rates", "rate", "input", "output"],
    () => readyLoad().then(ready => { if (ready) drawLoad(); })]],
  "settings-card": [[["K", "batch", "context", "rates"], () => { showSettings(); showMeasured(); }]],
};
const FRAME_MS = 40;  // of one frame, after which no other card is begun
const drawn = {};  // card and layer -> the model and the state that it shows
const seen = new Set();
const watcher = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries) if (isIntersecting) seen.add(target.id); else seen.delete(target.id);
  drawSoon();
}, {rootMargin: "120px"});

function showTexts() {
  const i = model.index(state.batch), {K, context, rates, unsure} = state;
  const now = model.at(K, i, context, rates, unsure);
  showSliders(now, i);
  put("headline", headline(now, i));
  put("summary", summary(i));
  document.body.classList.toggle("does-not-fit", model.most(K, context) < 1);
  showFacts(now, i);
  put("footnote", escaped(footnote()));
  writeAddress();
}

function showSliders(now, i) {
  const {K, context, rates, unsure, batch} = state, last = model.contexts[model.contexts.length - 1];
  const best = model.best(i, context, rates);
  byId("batch").value = toSlider(batch, 1, model.lastBatch);
  byId("context").value = toSlider(context, model.contexts[0], last);
  byId("rate").value = rates[0];
  byId("unsure").value = unsure;
  byId("batch-value").textContent = batch;
  byId("context-value").textContent = whole(context);
  byId("rate-value").textContent = two(rates[0]);
  byId("unsure-value").textContent = unsure ? `± ${two(unsure)}` : "exact";
  speakSliders(["batch", "context", "rate", "unsure"]);
  byId("length-value").textContent = K ? `${two(now.tau)} tokens a cycle` : "no draft";
  if (document.activeElement !== byId("rates")) byId("rates").value = rates.length > 1 ? rates.join(",") : "";
  for (const button of document.querySelectorAll("[data-shape]")) {
    const shape = Number(button.dataset.shape);
    const fits = model.most(shape, context) > 0;
    button.lastChild.textContent = fits ? two(model.at(shape, i, context, rates, 0).speedup) : "-";
    button.className = (shape === K ? "chosen " : "") + (fits && shape === best ? "best" : "");
    button.setAttribute("aria-pressed", shape === K);
  }
}

// Sliders are logarithms: a screen reader reads their output instead.
function speakSliders(ids) {
  for (const id of ids) byId(id).setAttribute("aria-valuetext", byId(`${id}-value`).textContent);
}

// Draw the layers of cards that changed. False if the time of a frame is over before all are drawn.
function drawCards(ids) {
  const began = performance.now(), i = model.index(state.batch), {K, context, rates, unsure} = state;
  const now = model.at(K, i, context, rates, unsure), best = model.best(i, context, rates);
  for (const id of ids) {
    if (performance.now() - began > FRAME_MS) return false;
    let below = false;
    CARDS[id].forEach(([names, show], layer) => {
      const key = `${id} ${layer}`, shown = [model, sizes, ...names.map(name => name === "best" ? best : state[name])];
      below ||= !drawn[key]?.every((value, at) => value === shown[at]);
      if (!below) return;
      drawn[key] = shown;
      show(now, i, best);
    });
  }
  return true;
}

function draw(changed = true) {
  const began = performance.now();
  if (changed) showTexts();
  clearTimeout(restTimer);
  if (drawCards(seen)) restTimer = setTimeout(drawRest, 300); else drawSoon();
  document.body.dataset.drawMs = performance.now() - began;
}

let restTimer = 0;
function drawRest() {  // fitted axes, and cards out of sight; that of the load waits for its tables until it is in sight
  if (moving) for (const key in drawn) delete drawn[key];
  moving = false;
  const done = drawCards(Object.keys(CARDS).filter(id => id !== "load-card" || model.data.load));
  if (!done) restTimer = setTimeout(drawRest, 0);
}

let waiting = false, dirty = false;
function drawSoon(changed = false) {
  dirty ||= changed;
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { const all = dirty; waiting = dirty = false; draw(all); });
}

function listen() {
  const onInput = (id, change) => {
    byId(id).oninput = event => {
      moving = true;
      change(Number(event.target.value));
      limitState();
      drawSoon(true);
    };
  };
  onInput("batch", at => { state.batch = Math.round(fromSlider(at, 1, model.lastBatch)); });
  onInput("context", at => {
    const value = fromSlider(at, model.contexts[0], model.contexts[model.contexts.length - 1]);
    const power = 2 ** Math.round(Math.log2(value));
    state.context = Math.abs(value / power - 1) < 0.04 ? power : Number(value.toPrecision(2));
  });
  onInput("rate", value => { state.rates = [value]; });
  onInput("unsure", value => { state.unsure = value; });
  onInput("request-rate", at => { state.rate = Number(fromSlider(at, ...loadRange).toPrecision(3)); });
  for (const name of Object.keys(LENGTHS))
    onInput(name, at => { state[name] = Number(fromSlider(at, ...LENGTHS[name]).toPrecision(2)); });
  byId("rates").oninput = event => { if (setRates(event.target.value)) drawSoon(true); };
  const links = (id, items) => {
    byId(id).innerHTML = items.map(([text], at) => `<button type="button" data-at="${at}">${text}</button>`).join("");
    for (const button of byId(id).children) button.onclick = () => {
      const [, given, answer, card] = items[button.dataset.at];
      Object.assign(state, given);
      limitState();
      if (!("K" in given)) state.K = model.best(model.index(state.batch), state.context, state.rates);
      byId("answer").hidden = !answer;
      byId("answer").textContent = answer || "";
      draw();
      if (card) byId(card).scrollIntoView({block: "nearest"});
    };
  };
  links("presets", PRESETS);
  links("questions", QUESTIONS);
  for (const plot of document.querySelectorAll(".frame > .plot")) plot.onpointerenter = () => tellPlotly(plot.id);
  document.addEventListener("dragover", event => { event.preventDefault(); document.body.classList.add("dropping"); });
  document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
  document.addEventListener("drop", event => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    readLog(event.dataTransfer.files[0]);
  });
  byId("log").onchange = event => { readLog(event.target.files[0]); event.target.value = ""; };
  window.onhashchange = () => { readAddress(); draw(); };
  new ResizeObserver(() => { measureCharts(); drawSoon(); }).observe(byId("speedup-plot"));  // window or scroll bar
}

async function readLog(file) {  // a log or a metrics page: the server reads it as `scylla-sim ingest` does
  if (!file) return;
  const say = text => { byId("rates-note").textContent = text; }, {choices, max_upload_bytes: most} = model.data;
  if (!choices) {
    say("A file needs scylla-sim explore, which reads it. Enter its rates here instead.");
    return;
  }
  if (file.size > most) {
    say(`${file.name} has ${whole(file.size / 2 ** 20)} MiB; at most ${whole(most / 2 ** 20)} are read.`);
    return;
  }
  const {ok, text} = await ask("/ingest", {method: "POST", body: file});
  if (!ok) {
    say(text);
    return;
  }
  const {rates, unsure} = JSON.parse(text);
  state.rates = rates;
  if (unsure !== null) state.unsure = Number(unsure.toFixed(3));  // else the slider keeps what the visitor chose
  limitState();
  draw();
  const sure = unsure === null ? "" : `, each ± ${unsure.toFixed(3)} by the interval of the file`;
  say(`${rates.length} positions read from ${file.name}${sure}`);
}

measureCharts();
showChoices();
showShapes();
readAddress();
listen();
for (const id in CARDS) {
  if (byId(id).getBoundingClientRect().top < window.innerHeight + 120) seen.add(id);
  watcher.observe(byId(id));
}
draw();
if (model.data.error === null) readDetails();
