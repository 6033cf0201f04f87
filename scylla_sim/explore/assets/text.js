// Numbers and sentences of the page. The arithmetic is in model.js, the state in page.js.
"use strict";

const byId = id => document.getElementById(id);
const written = {};  // element -> its text; writing the same again would cost a layout, and be read aloud
function put(id, text) {
  if (written[id] !== text) byId(id).innerHTML = written[id] = text;
}
const thin = text => text.replace(/\B(?=(\d{3})+(?!\d))/g, "\u2009");
const three = x => x >= 1000 ? thin(String(Math.round(Number(x.toPrecision(3)))))
  : x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2);
const two = x => x.toFixed(2);
const times = x => `${two(x)}×`;
const whole = x => thin(String(Math.round(x)));
const short = x => x >= 1024 && x % 1024 === 0 ? `${x / 1024}k` : x >= 10000 ? `${Math.round(x / 1000)}k` : whole(x);
const seconds = s => s >= 1 ? `${three(s)} s` : `${three(1e3 * s)} ms`;
const escaped = text => text.replace(/[&<>"]/g, c => ({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})[c]);

// A command whose options and names are not cut at their hyphens; a copy of it is unchanged.
const unbroken = text => escaped(text).replace(/[^\s]*-[^\s]*/g, word => `<span>${word}</span>`);

function shapeName(K) {  // of a draft shape, inside a sentence
  const [length, topK, tokens] = model.shapes[K];
  return K === 0 ? "plain decoding" : topK === 1 ? `K = ${length}` : `a tree of ${tokens} tokens`;
}
function legendName(K) {
  const [, topK, tokens] = model.shapes[K];
  return K === 0 ? "plain" : topK === 1 ? shapeName(K) : `tree of ${tokens}`;
}
const capital = text => text[0].toUpperCase() + text.slice(1);

function gpus() {
  const {tp, hardware} = model.data;
  return tp > 1 ? `${tp} ${hardware}` : hardware;
}

const memory = () => model.data.tp > 1 ? gpus() : `one ${gpus()}`;

function headline(now, i) {
  const {K, batch, context, rates, unsure} = state;
  if (model.most(K, context) < 1) {
    const may = model.most(K, context, "most_upper") < 1 ? "do" : "may";
    return `<span class="bad">The model and one request of ${whole(context)} tokens ${may} not fit in the memory of `
      + `${memory()}.</span>`;
  }
  if (K === 0) {
    const best = model.best(i, context, rates);
    const advice = best === 0 ? "Do not speculate here." : `${capital(shapeName(best))} would be `
      + `<span class="good">${times(model.at(best, i, context, rates, 0).speedup)}</span> as fast.`;
    return `Plain decoding takes ${three(1e3 * now.plain)} ms a token at batch ${batch}. ${advice}`;
  }
  const interval = `<span class="interval">[${two(now.lower)}-${two(now.upper)}]</span>`;
  const verdict = now.slower > SLOWER_ABOVE ? `is <span class="bad">slower, ${times(now.speedup)}</span> ${interval}`
    : now.slower >= FASTER_BELOW ? `is about as fast, ${times(now.speedup)} ${interval}`
    : `is <span class="good">${times(now.speedup)} faster</span> ${interval}`;
  const cross = model.crossovers(K, context, rates, unsure).speedup;
  const end = cross === null ? "drafting pays at every batch that fits" : cross === 1 ? "drafting pays at no batch"
    : `drafting ${batch < cross ? "stops" : "stopped"} paying at batch ${cross}`;
  return `${capital(shapeName(K))} ${verdict} at batch ${batch}; ${end}.`;
}

function summary(i) {
  const {data} = model, {K, context, rates, batch} = state, best = model.best(i, context, rates);
  const most = model.most(K, context);
  const other = most < 1 ? whatWouldFit() : best === K ? (K ? "Nothing else is faster here" : "Plain decoding is the fastest here")
    : best === 0 ? "Plain decoding is the fastest here"
    : `${capital(shapeName(best))} is the fastest here, ${times(model.at(best, i, context, rates, 0).speedup)}`;
  const full = batch > most && most > 0
    ? ` <span class="problem">${batch} requests do not fit in memory: ${whole(most)} do.</span>` : "";
  return `${escaped(data.model)} on ${gpus()}, ${data.precision}, draft ${escaped(data.draft)}, ${data.engine}, `
    + `${whole(context)} tokens of context. ${other}.${full}`;
}

// What a visitor can change where not one request fits.
function whatWouldFit() {
  const {K, context} = state, plain = model.most(0, context);
  if (K > 0 && plain > 0) return `${whole(plain)} fit without a draft`;
  const upper = model.most(K, context, "most_upper");
  if (upper > 0) return `${whole(upper)} fit at the other end of the range of the memory that the engine takes`;
  let shorter = null;
  for (const one of model.contexts) if (one < context && model.most(K, one) > 0) shorter = one;
  return shorter ? `One of ${whole(shorter)} tokens fits`
    : "Choose more GPUs (TP), a smaller precision, or a GPU with more memory";
}

const EVIDENCE = {silicon: "of this GPU", transferred: "of another GPU", theory: "never measured"};

function showFacts(now, i) {
  const none = model.most(state.K, state.context) < 1;
  const {K, context, rates, unsure, batch} = state, part = model.parts(K, i, context);
  const last = Math.min(model.most(K, context), model.lastBatch);
  const {speedup: cross, lower: early, upper: late} = model.crossovers(K, context, rates, unsure);
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
    [`${(100 * part.engine / part.total).toFixed(0)} % <small>engine</small>`, `overhead ${engine}; kernels ${EVIDENCE[kernels] ?? `(${kernels})`}`],
  ];
  put("facts", items.map(([value, text], at) => `<div class="fact"><b>${none && at !== FITS ? "-" : value}</b>`
    + `<span>${none ? text.replace(/ \(.*/, "") : text}</span></div>`).join(""));
}

const FITS = 4;  // place of the requests that fit among the facts

function contextThatPays(K, i) {  // shortest context with a speed-up above 1 whose batch fits
  const [first, last] = [model.contexts[0], model.contexts[model.contexts.length - 1]];
  for (let step = 0; step <= 48; step++) {
    const context = Math.round(first * (last / first) ** (step / 48));
    if (model.most(K, context) < model.batches[i]) return null;
    if (model.at(K, i, context, state.rates, 0).speedup > 1) return context;
  }
  return null;
}

// The command that computes the same, in lines that can be pasted.
function command(verb, more) {
  const {K, rates} = state, [length, topK, tokens] = model.shapes[K];
  const words = Object.entries(model.data.options).filter(([name]) => K > 0 || !name.startsWith("draft"))
    .map(([name, value]) => `--${name} ${value}`);
  if (K > 0) words.push(`--draft-len ${length}`, `--acceptance ${rates.join(",")}`);
  if (topK > 1) words.push(`--top-k ${topK}`, `--verify-tokens ${tokens}`);
  const lines = [`scylla-sim ${verb}`];
  for (const word of [...words, ...more])
    if ((lines[lines.length - 1] + word).length > 62) lines.push(`    ${word}`);
    else lines[lines.length - 1] += ` ${word}`;
  return lines.join(" \\\n");
}

function showSettings() {
  const {settings} = model.data, {K, context, rates, batch} = state, [, topK] = model.shapes[K];
  const ranges = model.schedule(context, rates), lengths = ranges.map(range => range[2]);
  let text = settings.reason, which = "";
  if (settings.fixed.length > 0) {
    const best = Math.max(model.best(model.index(batch), context, rates), 1);
    if (model.most(K, context) < 1) text = "Nothing to set: not one request fits.";
    else if (topK > 1) [text, which] = [settings.fixed[K - 1], `for ${shapeName(K)}`];
    else if (!lengths.some(length => length > 0)) text = "Leave speculation off: plain decoding is the fastest.";
    else if (ranges.length > 1 && settings.by_batch) {
      which = "a draft length for each range of batches, at this context; each switch gains 2 % or more";
      text = settings.by_batch.replace("@LONGEST@", Math.max(...lengths))
        .replace("@RANGES@", JSON.stringify(ranges).replace(/,/g, ", "));
    } else [text, which] = [settings.fixed[best - 1], `for ${shapeName(best)}, the fastest at batch ${batch}`];
  }
  put("settings-which", which);
  put("settings", unbroken(text || "This package knows no setting for this tree."));
  const notes = [...settings.notes, ...(settings.left_out ? [`Not offered: ${settings.left_out}`] : [])];
  put("settings-notes", notes.map(note => `<li>${escaped(capital(note))}</li>`).join(""));
  put("command", unbroken(command("predict", [`--batch ${batch}`, `--context ${context}`])));
}

function showMeasured() {
  const rows = model.data.measured ?? [], {batch, context, K} = state, [length, topK] = model.shapes[K];
  const apart = row => Math.abs(Math.log(row.batch / batch)) + Math.abs(Math.log(row.context / context));
  const distance = row => apart(row) + Math.abs(row.draft_len - length) / 3 + 2 * (row.top_k > 1 !== topK > 1);
  if (rows.length === 0) {
    put("measured", model.data.measured === null ? "" : "No published run of this deployment: nothing to compare with.");
    return;
  }
  const row = rows.reduce((best, one) => distance(one) < distance(best) ? one : best);
  const error = 100 * (row.predicted / row.measured - 1), far = apart(row) > Math.LN2;
  const shape = row.top_k > 1 ? `a tree of ${row.verify_tokens} tokens` : `K = ${row.draft_len}`;
  put("measured", `Nearest measured row${far ? " (not near)" : ""}: ${shape}, batch ${row.batch}, `
    + `context ${row.context}, ${row.engine}: measured ${times(row.measured)}, predicted ${times(row.predicted)}, `
    + `<b>${error > 0 ? "+" : ""}${error.toFixed(1)} %</b> (${escaped(row.source)}).`);
}

function footnote() {
  const {error, load, law, notes} = model.data, last = model.contexts[model.contexts.length - 1];
  const off = error && `: at ${error.points} random points it is at most ${(100 * error.speedup).toFixed(1)} % off, `
    + `and the ends of its interval ${(100 * error.band).toFixed(1)} %`;
  const shared = model.lengths > 1 ? `Between grid points the speed-up is interpolated${off ?? ""}. `
      + `Later positions follow ${law.text.replace("+-", "±")}. ` : "";
  return `Batches 1 to ${model.lastBatch}, contexts ${short(model.contexts[0])} to ${short(last)}. ${shared}`
    + "The 90 % interval covers kernels, engine versions, differences between deployments and acceptance. "
    + `Outside of the part on load, decoding only: no prefill, no queue. ${notes.join(". ")}`;
}
