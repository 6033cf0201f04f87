// The arithmetic of the page: tokens per cycle, speed-up, crossover and schedule from a grid of seconds.
// `scylla_sim/explore/interpolate.py` repeats it in numpy, and tests compare both with full predictions.
"use strict";

const Z90 = 1.6448536269514722;
const SLOWER_ABOVE = 0.7, FASTER_BELOW = 0.3;
const MIN_SWITCH_GAIN = 0.02;  // of a switch of the draft length, for each doubling of the batch

// Arrays are 16-bit logarithms in base64; 0 stands for zero.
function decode(packed) {
  const bytes = atob(packed.codes), count = bytes.length / 2, values = new Float64Array(count);
  const step = (packed.high - packed.low) / 65534;
  for (let i = 0; i < count; i++) {
    const code = bytes.charCodeAt(2 * i) | bytes.charCodeAt(2 * i + 1) << 8;
    values[i] = code === 0 ? 0 : Math.exp(packed.low + step * (code - 1));
  }
  return values;
}

function below(nodes, at) {
  let low = 0, high = nodes.length - 1;
  while (high - low > 1) { const middle = low + high >> 1; if (nodes[middle] <= at) low = middle; else high = middle; }
  const share = (at - nodes[low]) / (nodes[low + 1] - nodes[low]);
  return [low, Math.min(1, Math.max(0, share))];
}

// Rates of positions 1 to K: the given ones, then the law over positions of the method.
function ratesOf(given, K, law, deviations) {
  const exponent = law.later === null ? law.exponent - deviations * law.spread : 0;
  const odds = (rate, factor) => rate * factor / (1 - rate + rate * factor);
  const later = law.later === null ? null : odds(law.later, Math.exp(deviations * law.spread));
  const known = given.length, last = given[known - 1], rates = given.slice(0, K);
  for (let i = known + 1; i <= K; i++) {
    if (law.later !== null) rates.push(known === 1 ? Math.max(last, later) : last);
    else rates.push(odds(last, (i / known) ** -exponent));
  }
  return rates;
}

function chainTau(rates) {
  let tau = 1, product = 1;
  for (const rate of rates) { product *= rate; tau += product; }
  return tau;
}

// Probabilities of the first ranks: their odds are rank^exponent times those of the first rank.
function rankProfile(rate, topK, exponent) {
  const within = rank => { const weight = rate * rank ** exponent; return weight / (1 - rate + weight); };
  return Array.from({length: topK}, (_, at) => at === 0 ? rate : within(at + 1) - within(at));
}

// The best candidates of a beam of `topK` paths; the target verifies `tokens`, root included.
function treeTau(rates, topK, tokens, exponent) {
  const falling = (a, b) => b - a, all = [];
  let beam = [1];
  for (const rate of rates) {
    const ranks = rankProfile(rate, topK, exponent), found = beam.flatMap(path => ranks.map(rank => path * rank));
    all.push(...found);
    beam = found.sort(falling).slice(0, topK);
  }
  return all.sort(falling).slice(0, tokens - 1).reduce((sum, path) => sum + path, 1);
}

// [tau, lower, upper] of a draft shape; `unsure` is the half width of the interval of the rates.
function tauOf(given, shape, law, unsure) {
  const [K, topK, tokens] = shape, longest = Math.min(K, tokens - 1) + 1;
  if (K === 0) return [1, 1, 1];
  const at = (rates, deviations) => {
    const found = ratesOf(rates, K, law, deviations);
    return topK === 1 ? chainTau(found) : treeTau(found, topK, tokens, law.ranks);
  };
  const moved = amount => given.map(rate => Math.min(1, Math.max(0, rate + amount)));
  const tau = at(given, 0), uncertain = given.length < K && law.spread > 0;
  const ends = uncertain ? [at(given, -Z_LAW), at(given, Z_LAW)] : [tau, tau];
  const down = Math.hypot(tau - Math.min(tau, ...ends), tau - at(moved(-unsure), 0));
  const up = Math.hypot(Math.max(tau, ...ends) - tau, at(moved(unsure), 0) - tau);
  return [tau, Math.max(tau - down, 1), Math.min(tau + up, Math.max(longest, tau))];
}
const Z_LAW = 1.645;  // half width of a 90 % interval, as scylla_sim.acceptance.positions has it

function normalCdf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x) / Math.SQRT2);  // Abramowitz and Stegun 7.1.26
  const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const erf = 1 - tail * Math.exp(-x * x / 2);
  return x < 0 ? (1 - erf) / 2 : (1 + erf) / 2;
}

class Model {
  constructor(data) {
    this.data = data;
    this.batches = data.grid.batches;
    this.nodes = data.grid.nodes;
    this.contexts = data.grid.contexts;
    this.shapes = data.grid.shapes;  // [draft length, top-k, verified tokens]; the first is no draft
    this.lengths = this.shapes.length;
    this.chains = this.shapes.filter(([, topK]) => topK === 1).length;  // index of a chain = its draft length
    this.dense = {};
    this.smooth = {};
    for (const [name, packed] of Object.entries(data.grid.dense)) this.dense[name] = decode(packed);
    for (const [name, packed] of Object.entries(data.grid.smooth)) this.smooth[name] = decode(packed);
    this.place = this.batches.map(batch => below(this.nodes, batch));
  }

  get lastBatch() { return this.batches[this.batches.length - 1]; }

  index(batch) {  // of the largest batch of the grid that is not above this one
    const [low] = below(this.batches, batch);
    return batch >= this.batches[low + 1] ? low + 1 : low;
  }

  interpolated(name, K, i, context) {
    const values = this.smooth[name], [node, u] = this.place[i], [j, v] = below(this.contexts, context);
    const columns = this.contexts.length, at = (K * this.nodes.length + node) * columns + j;
    const low = values[at] * (1 - v) + values[at + 1] * v;
    if (u === 0) return low;
    return low * (1 - u) + (values[at + columns] * (1 - v) + values[at + columns + 1] * v) * u;
  }

  // Seconds of a cycle by part. A cycle is no shorter than a step without a draft.
  parts(K, i, context) {
    const dense = name => this.dense[name][K * this.batches.length + i];
    const smooth = name => this.interpolated(name, K, i, context);
    const found = {
      draft: dense("draft_dense") + smooth("draft_attention"), gemm: dense("gemm"), attention: smooth("attention"),
      other: dense("other"), engine: dense("overhead") + smooth("waiting"),
    };
    found.total = found.draft + found.gemm + found.attention + found.other + found.engine;
    if (K > 0) found.total = Math.max(found.total, this.plainStep(i, context));
    return found;
  }

  // Seconds of a step without a draft, kept for the last context.
  plainStep(i, context) {
    if (this.plainContext !== context) {
      this.plainContext = context;
      this.plainSteps = new Float64Array(this.batches.length);
    }
    if (this.plainSteps[i] === 0) this.plainSteps[i] = this.parts(0, i, context).total;
    return this.plainSteps[i];
  }

  // Result of `tauOf`, kept for the last rates.
  tau(K, given, unsure) {
    if (this.given !== given || this.unsure !== unsure) [this.given, this.unsure, this.taus] = [given, unsure, []];
    return this.taus[K] ??= tauOf(given, this.shapes[K], this.data.law, unsure);
  }

  // Speed-up with its interval, the seconds of cycle and step, and tau.
  at(K, i, context, given, unsure) {
    const plain = this.plainStep(i, context);
    if (K === 0) return {speedup: 1, lower: 1, upper: 1, cycle: plain, plain, tau: 1, slower: 0};
    const cycle = this.parts(K, i, context).total, [tau, low, high] = this.tau(K, given, unsure);
    const speedup = tau * plain / cycle;
    const lower = speedup / (1 + Math.hypot(this.interpolated("below", K, i, context), 1 - low / tau));
    const above = speedup * (1 + Math.hypot(this.interpolated("above", K, i, context), high / tau - 1));
    const upper = Math.min(above, Math.max(speedup, high));
    return {speedup, lower, upper, cycle, plain, tau, slower: this.slower(K, speedup, lower, upper)};
  }

  slower(K, speedup, lower, upper) {  // probability that the speed-up is below 1
    const distance = -Math.log(speedup);
    const spread = distance < 0 ? Math.log(speedup / lower) : Math.log(upper / speedup);
    const found = spread > 0 ? normalCdf(Z90 * distance / spread) : distance > 0 ? 1 : 0;
    return this.data.undecided[K] ? Math.max(found, FASTER_BELOW) : found;
  }

  // Sequences that fit in memory: a pool of tokens divided by the tokens of a sequence.
  most(K, context, end = "most") {
    const [j, v] = below(this.contexts, context), row = this.data.grid[end][K];
    if (row[j] <= 0 || row[j + 1] <= 0) return v < 0.5 ? row[j] : row[j + 1];
    return Math.floor(1 / ((1 - v) / row[j] + v / row[j + 1]));
  }

  // First batch from which the speed-up, and each end of its interval, never exceeds 1 again; null if it does at
  // the last batch, undefined if not even one request fits. Kept for the last point.
  crossovers(K, context, given, unsure) {
    const asked = [K, context, given, unsure];
    if (this.asked && asked.every((value, at) => value === this.asked[at])) return this.crossed;
    const most = Math.min(this.most(K, context), this.lastBatch), last = {speedup: -1, lower: -1, upper: -1};
    let end = -1;
    for (let i = 0; i < this.batches.length && this.batches[i] <= most; i++) {
      const value = this.at(K, i, context, given, unsure);
      end = i;
      for (const key in last) if (value[key] > 1) last[key] = i;
    }
    const batch = at => end < 0 ? undefined : at === end ? null : this.batches[at + 1];
    this.asked = asked;
    this.crossed = {speedup: batch(last.speedup), lower: batch(last.lower), upper: batch(last.upper)};
    return this.crossed;
  }

  best(i, context, given) {  // index of the fastest shape; 0 for decoding without a draft
    let best = 0, most = 1;
    for (let K = 1; K < this.lengths; K++) {
      const {speedup} = this.at(K, i, context, given, 0);
      if (speedup > most) [best, most] = [K, speedup];
    }
    return best;
  }

  // Ranges [first batch, last batch, K] of chains that maximize throughput minus the cost of switches; empty: do not
  // draft.
  schedule(context, given) {
    const chains = this.chains, fits = this.shapes.slice(0, chains).map((_, K) => this.most(K, context));
    const most = Math.min(...fits, this.lastBatch);
    const count = this.batches.filter(batch => batch <= most).length;
    if (count === 0 || chains === 1) return [];
    const idle = 1 / (1 + this.data.idle_draft), cost = MIN_SWITCH_GAIN * Math.LN2;
    const score = (K, i) => Math.log(K === 0 ? idle : this.at(K, i, context, given, 0).speedup);
    const weight = i => Math.log((i + 1 < this.batches.length ? this.batches[i + 1] : this.batches[i] + 1)
      / this.batches[i]);
    let total = new Float64Array(chains);
    const from = [];
    for (let i = 0; i < count; i++) {
      const leader = total.indexOf(Math.max(...total)), next = new Float64Array(chains), came = [];
      for (let K = 0; K < chains; K++) {
        const stays = total[K] >= total[leader] - cost;
        came.push(stays ? K : leader);
        next[K] = (stays ? total[K] : total[leader] - cost) + weight(i) * score(K, i);
      }
      total = next;
      from.push(came);
    }
    const chosen = [];
    for (let i = count - 1, K = total.indexOf(Math.max(...total)); i >= 0; i--) { chosen[i] = K; K = from[i][K]; }
    const gain = chosen.reduce((sum, K, i) => sum + weight(i) * score(K, i), 0);
    if (gain <= 0) return [];
    const ranges = [];
    chosen.forEach((K, i) => {
      if (i === 0 || chosen[i - 1] !== K) ranges.push([this.batches[i], 0, K]);
      ranges[ranges.length - 1][1] = i + 1 < count ? this.batches[i + 1] - 1 : most;
    });
    return ranges;
  }

  // Arithmetic intensity and rate of one pass of the target.
  roofline(K, i, context) {
    const {peak_flop_per_s: peak, bytes_per_s: rate} = this.data.device;
    const flops = peak * this.interpolated("compute", K, i, context);
    const bytes = rate * this.interpolated("memory", K, i, context);
    const part = this.parts(K, i, context);
    return {intensity: flops / bytes, rate: flops / (part.gemm + part.attention + part.other)};
  }
}

if (typeof module !== "undefined") module.exports = {Model, tauOf, normalCdf, decode, below};
