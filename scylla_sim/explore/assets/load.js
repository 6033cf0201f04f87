// Latency of one replica under load, by the closed form of `scylla_sim.serving`: `replica`, `loop_state`, `load_loop`
// and `closed_form`. Seconds of cycles are those of the grid in model.js; `data` has the seconds of prompts.
"use strict";

const ROWS = 160, LOADS = 220, ROUNDS = 4, MAX_RATIO = 2.5, LUCK = 3, MAX_FEEDBACK = 0.998, MIN_FEEDBACK = 1e-3;
const SHORT_WAIT = 0.03, NEARLY_FULL = 1.08, UNUSED = 0.75, SMOOTHING = 0.5;  // of `replica.py`
const SEATS_BY_LOAD = 0.75, FULL = 1 - 1e-4;  // of `closed_form.py`
const LATENCIES = {ttft50: 0.5, ttft95: 0.95, tpot50: 0.5, tpot95: 0.95};

const NORMAL = Array.from({length: 961}, (_, at) => { const z = -6 + at / 80; return [normalCdf(z), z]; });
function normalQuantile(probability) {
  let low = 0, high = NORMAL.length - 1;
  while (high - low > 1) { const at = low + high >> 1; if (NORMAL[at][0] <= probability) low = at; else high = at; }
  const [[p, z], [q, y]] = [NORMAL[low], NORMAL[high]];
  return q > p ? z + (y - z) * Math.min(1, Math.max(0, (probability - p) / (q - p))) : z;
}

function gammaQuantile(mean, deviation, probability) {  // Wilson and Hilferty
  if (mean <= 0) return 0;
  const inverse = Math.min(deviation / mean, MAX_RATIO) ** 2 / 9;
  return mean * Math.max(1 - inverse + normalQuantile(probability) * Math.sqrt(inverse), 0) ** 3;
}

function linear(nodes, values, at, offset = 0) {
  const [low, share] = below(nodes, at);
  return values[offset + low] * (1 - share) + values[offset + low + 1] * share;
}

function place(rows, n) {  // lines are prolonged beyond the ends
  let low = 0, high = rows.length - 1;
  while (high - low > 1) { const at = low + high >> 1; if (rows[at] < n) low = at; else high = at; }
  return [low, (n - rows[low]) / (rows[low + 1] - rows[low])];
}
const at = (table, [low, share]) => table[low] + share * (table[low + 1] - table[low]);

// Two nodes and weights with the first three moments of a gamma variable.
function twoNodes(mean, spread) {
  const deviation = Math.sqrt(Math.max(mean * spread, 1e-300)), half = Math.sqrt(spread / Math.max(mean, 1e-12));
  const root = Math.hypot(1, half), weight = 0.5 * (1 + half / root);
  return {nodes: [Math.max(mean + deviation * (half - root), 0), mean + deviation * (half + root)],
    weights: [weight, 1 - weight]};
}
const meanOver = (table, rows, {nodes, weights}) =>
  weights[0] * at(table, place(rows, nodes[0])) + weights[1] * at(table, place(rows, nodes[1]));

function covariances(feedback) {
  const given = Math.min(Math.max(feedback, 0), MAX_FEEDBACK), f = Math.max(given, MIN_FEEDBACK);
  const spread = 1 / (1 - given), rest = (Math.expm1(f) - f) / (f * f);
  return [spread, spread - rest, spread - 2 * (rest - 0.5) / f];
}

// Mean and relative deviation of the cycles of a request: independent cycles with one rate for all positions.
function cyclesOf(tau, K, tokens) {
  if (K === 0 || tau === 1) return [tokens, 0];
  let low = 0, high = 1;
  for (let step = 0; step < 60; step++) {
    const rate = (low + high) / 2;
    let sum = 1, power = 1;
    for (let i = 0; i < K; i++) sum += power *= rate;
    if (sum < tau) low = rate; else high = rate;
  }
  const rate = (low + high) / 2;
  let first = 0, second = 0;
  for (let count = 1; count <= K + 1; count++) {
    const share = rate ** (count - 1) * (count <= K ? 1 - rate : 1);
    first += share * count;
    second += share * count * count;
  }
  const mean = (tokens + 0.5 * (second / first - 1)) / first;
  return [mean, Math.sqrt(tokens * Math.max(second - first ** 2, 0) / first ** 3) / mean];
}

class Load {
  constructor(model, data) {
    Object.assign(this, {model, data, tokens: data.tokens, offsets: data.offsets, kept: new Map()});
    for (const name of ["rows", "draft_rows", "head", "least", "attention"]) this[name] = decode(data[name]);
  }

  // Seconds of prompt tokens beside `before` tokens of `n` decoding requests; see `IterationModel.seconds`.
  added(drafts, n, before, tokens, attention, sampled, decode) {
    const rows = count => linear(this.tokens, this.rows, count) + (drafts ? linear(this.tokens, this.draft_rows, count) : 0);
    const head = count => linear(this.tokens, this.head, count), {host_s: host} = this.data;
    const own = Math.max(rows(before + tokens) - rows(before), 0) + head(before + sampled) - head(before) + attention;
    const least = linear(this.tokens, this.least, before + tokens);
    if (n === 0) return Math.max(own + host, host + least);
    return Math.max(decode.total - decode.waiting + own, decode.beside + least);
  }

  attentionOf(tokens, offset) {
    const [low, share] = below(this.offsets, offset), count = this.tokens.length;
    const value = row => linear(this.tokens, this.attention, tokens, row * count);
    return value(low) * (1 - share) + value(low + 1) * share;
  }

  // Most requests that run together by memory, budget and seats; 0 if not even one fits.
  seats(K, input, output) {
    const {model} = this, context = Math.max(Math.round(input + 0.5 * output), 1), [, , width] = model.shapes[K];
    if (model.most(K, input + output) < 1) return 0;
    const pool = model.most(K, context, "most_upper") * context;
    return Math.floor(Math.min(this.data.max_num_seqs, Math.max(pool / input, 1), this.data.budget / width));
  }

  replica(K, tau, input, output) {
    const {model} = this, {budget, prefill_first: alone} = this.data, [length, , width] = model.shapes[K];
    const seats = this.seats(K, input, output), context = Math.max(Math.round(input + 0.5 * output), 1);
    if (seats < 2) return null;
    const [cycles, cv] = cyclesOf(tau, length, output - 1), drafts = K > 0;
    const indices = [...new Set(Array.from({length: ROWS}, (_, i) => model.index(Math.round(seats ** (i / (ROWS - 1))))))];
    const found = {rows: [], cycle: [], work: [], prompt: [], next: [], iterations: [], again: [], cycles, cv, output, most: 1};
    const pool = 0.5 * (model.most(K, context) + model.most(K, context, "most_upper")) * context;
    const spare = pool / ((context + width) * seats);
    const full = Math.min(Math.max((NEARLY_FULL - spare) / (NEARLY_FULL - 1), 0), 1);
    const usable = pool - full * UNUSED * Math.min(input, output);
    const within = Math.min(usable / (context + width), budget / (input / cycles + width));
    for (const i of indices) {
      const n = model.batches[i], parts = model.parts(K, i, context), waiting = model.interpolated("verify_waiting", K, i, context);
      const decode = {total: parts.total, waiting};
      decode.beside = parts.total - parts.gemm - parts.attention - parts.other - waiting;
      const beside = alone ? 0 : n, before = width * beside, room = Math.max(budget - before, 1);
      const chunk = Math.min(input, Math.floor(room)), chunks = input / chunk, fits = 2 * chunk <= room;
      const attention = this.attentionOf(chunk, 0.5 * (input - chunk)), without = alone ? 0 : parts.total;
      const one = this.added(drafts, beside, before, chunk, attention, 1, decode) - without;
      const size = Math.min(2 * chunk, budget);
      // as `prompts_together` in scylla_sim/serving/replica.py: tiles make each further prompt cost another
      const ends = Math.floor(beside * 0.5 * (1 + width) / (output - 1) + 0.5);
      const count = Math.min(Math.max(ends, 2), Math.max(Math.min(beside, Math.floor(room / chunk)), 2));
      const tokens = Math.min(count * chunk, budget);
      const several = this.added(drafts, beside, before, tokens, count * attention, count, decode) - without;
      const both = count > 2 ? one + (several - one) / (count - 1) : several;
      found.rows.push(n);
      found.cycle.push(parts.total);
      found.work.push(cycles * parts.total);
      found.prompt.push(chunks * one);
      found.next.push(fits ? both - one : chunks * one);
      found.iterations.push(fits ? 0 : chunks);
      found.again.push(full * Math.exp(-SMOOTHING * n / cycles) * output / size * both);
    }
    found.most = Math.max(Math.min(within, found.rows[found.rows.length - 1]), 1);
    found.alone = this.added(drafts, 0, 0, input, this.attentionOf(input, 0), 1, null);
    return found;
  }

  // State of the loop with m decoding requests in the mean; see `loop_state.solve`.
  solve(r, m) {
    const mean = place(r.rows, Math.max(m, 1)), first = at(r.prompt, mean), further = at(r.next, mean);
    let spread = 1, prompt = first, state = null;
    for (let round = 0; round < ROUNDS; round++) {
      const pair = twoNodes(m, spread), [low, high] = pair.nodes.map(n => at(r.work, place(r.rows, n)));
      const work = pair.weights[0] * low + pair.weights[1] * high, rate = m / (work + m * prompt);
      const share = rate * prompt, slope = Math.max(high - low, 0) / Math.max(pair.nodes[1] - pair.nodes[0], 1e-12);
      const feedback = rate * slope / (1 - share);
      spread = covariances(feedback)[0] / (1 - share) ** 2;
      state = {rate, share, feedback, spread, stay: work / (1 - share), pair};
      const together = Math.max(rate * meanOver(r.cycle, r.rows, pair) / (1 - share), 1e-12);
      prompt = further - (further - first) * -Math.expm1(-together) / together;
    }
    return {...state, prompt};
  }

  // Mean, least value and deviation of the seconds to the first token in a busy replica; see `closed_form._wait`.
  wait(r, s) {
    let total = 0, first = 0, second = 0;
    s.pair.nodes.forEach((node, index) => {
      const where = place(r.rows, Math.max(node, 1)), decode = at(r.cycle, where), own = at(r.prompt, where);
      const further = at(r.next, where), mean = decode / (1 - s.share);
      const variance = s.prompt * s.share * mean / (1 - s.share ** 2);
      const third = (s.prompt ** 2 * s.share * mean + 3 * s.prompt * s.share ** 2 * variance) / (1 - s.share ** 3);
      const seen = mean + variance / mean, squared = (third + 3 * mean * variance + mean ** 3) / mean;
      const each = s.rate * further, iterations = at(r.iterations, where);
      let least = decode + own, excess = (0.5 + each) * seen;
      let excess2 = ((0.5 + each) ** 2 + 1 / 12) * squared + further * each * seen;
      if (iterations > 0) {  // prompts run one at a time: a queue with a constant service time
        const service = iterations * decode + own, free = Math.max(1 - s.rate * service, 1e-6);
        const queue = s.rate * service ** 2 / (2 * free);
        least = service;
        excess = 0.5 * mean + queue;
        excess2 = mean ** 2 / 12 + s.rate * service ** 3 / (3 * free) + queue ** 2 + excess ** 2;
      }
      const weight = s.pair.weights[index] * mean;
      total += weight;
      first += weight * (least + excess);
      second += weight * (least ** 2 + 2 * least * excess + excess2);
    });
    const average = first / total, floor = Math.max(r.iterations[0], 1) * r.cycle[0] + r.prompt[0];
    return [average, Math.min(floor, average), Math.sqrt(Math.max(second / total - average ** 2, 0))];
  }

  // Latencies with m decoding requests in the mean; see `closed_form.curve`.
  steady(r, m, full) {
    const s = this.solve(r, m), tokens = r.output - 1;
    const others = twoNodes(Math.max(m + s.spread - 1, 0), s.spread);
    others.nodes = others.nodes.map(n => 1 + n);
    let stay = meanOver(r.work, r.rows, others) / (1 - s.share);
    stay += s.share * s.prompt / ((1 - s.share) * (1 - s.share ** 2));
    const [spread, mixed, mean] = covariances(s.feedback), decode = s.feedback * (1 - s.share);
    const units = (decode ** 2 * mean + 2 * s.share * decode * mixed + s.share ** 2 * spread) / (1 - s.share) ** 2;
    const relative = Math.sqrt((s.rate > 0 ? s.stay / s.rate * units : 0) / s.stay ** 2 + r.cv ** 2);
    const [wait, floor, deviation] = this.wait(r, s), extra = Math.max(s.spread - 1, 1e-6);
    const idle = Math.exp(-m * Math.log1p(extra) / extra) * (1 - s.share);
    const load = Math.min(s.rate / full, FULL), taken = Math.min(m / r.most, FULL);
    const used = load ** SEATS_BY_LOAD * taken ** (1 - SEATS_BY_LOAD);
    const queue = used ** (Math.sqrt(2 * (r.most + 1)) - 1), queueWait = 0.5 * (1 + r.cv ** 2) / (full * (1 - load));
    const least = Math.max(1 - LUCK * r.cv, 0) * r.work[0] / tokens, tpot = stay / tokens;
    return {rate: s.rate, running: s.rate * stay, idle, queue, queueWait, wait, floor, deviation, tpot, tpotFloor: least,
      tpotDeviation: relative * tpot, tail: gammaQuantile(m, Math.sqrt(m * s.spread), 0.99)};
  }

  // Steady states along rising load, and the rate at saturation; null where no two requests fit.
  curve(K, tau, input, output) {
    const key = [K, tau, input, output].join();
    if (this.kept.has(key)) return this.kept.get(key);
    const r = this.replica(K, tau, input, output);
    let found = null;
    if (r !== null) {
      const last = r.rows[r.rows.length - 1], loads = [0], full = this.saturation(r);
      for (let i = 0; i < LOADS; i++) loads.push(last * 2e-5 ** (1 - i / (LOADS - 1)));
      const states = loads.map(m => this.steady(r, m, full));
      for (let i = 1; i < states.length; i++) states[i].rate = Math.max(states[i].rate, states[i - 1].rate);
      found = {states, alone: r.alone, saturation: full};
    }
    if (this.kept.size > 40) this.kept.clear();
    this.kept.set(key, found);
    return found;
  }

  saturation(r) {
    let best = 0;
    for (const row of r.rows) {
      const n = Math.min(row, r.most), where = place(r.rows, n), work = at(r.work, where);
      const first = at(r.prompt, where), further = at(r.next, where);
      const together = n * at(r.cycle, where) / Math.max(work, 1e-300);
      const prompt = further - (further - first) * -Math.expm1(-together) / together + at(r.again, where);
      best = Math.max(best, n / (work + n * prompt));
    }
    return best;
  }

  // Seconds to the first token and per output token at a rate, interpolated; null beyond saturation.
  latencies(curve, rate) {
    if (curve === null || rate >= curve.saturation) return null;
    const {states} = curve;
    let high = 1;
    while (high < states.length - 1 && states[high].rate < rate) high++;
    const [low, up] = [states[high - 1], states[high]], gap = up.rate > low.rate ? up.rate - low.rate : 1;
    const share = Math.min(1, Math.max(0, (rate - low.rate) / gap)), s = {};
    for (const name in low) s[name] = low[name] * (1 - share) + up[name] * share;
    const late = s.queue * s.queueWait, waits = late / ((1 - s.idle) * s.wait + s.idle * curve.alone + late);
    const found = {running: s.running, share: rate / curve.saturation, tail: s.tail, waits};
    for (const [name, probability] of Object.entries(LATENCIES)) {
      if (name.startsWith("tpot")) {
        found[name] = s.tpotFloor + gammaQuantile(Math.max(s.tpot - s.tpotFloor, 0), s.tpotDeviation, probability);
      } else {
        const left = Math.min(1, Math.max(0, (probability - s.idle) / Math.max(1 - s.idle, 1e-300)));
        const late = s.queueWait * Math.log(Math.max(s.queue / (1 - probability), 1));  // wait for a seat
        found[name] = late + (probability <= s.idle ? curve.alone
          : Math.max(s.floor + gammaQuantile(s.wait - s.floor, s.deviation, left), curve.alone));
      }
    }
    return found;
  }
}
