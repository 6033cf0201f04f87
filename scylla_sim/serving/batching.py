"""The loop of continuous batching, iteration by iteration.

Each iteration decodes all running requests and reads prompts within the token budget (``mixed``), or reads prompts
alone as long as any wait (``prefill-first``). Requests start in the order of their arrivals, as soon as a seat is
free and the KV pool holds their prompt. A request that cannot grow preempts the one that started last, which
computes its tokens again.

The loop uses lists, and one entry per request in a sorted list: the number of cycles at which the request ends,
drawn before the run (`scylla_sim.serving.workload.draw_cycles`). Between its start and its end a request grows
evenly in the KV cache.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray
from scylla_sim.serving.step_lists import StepLists
from scylla_sim.serving.workload import IntArray, Requests

MIXED, PREFILL_FIRST = "mixed", "prefill-first"
POLICIES = (MIXED, PREFILL_FIRST)
"""Ways to schedule prompts: beside decodes within the token budget, or in iterations of their own."""

_EARLY = 1e-6
"""Cycles by which the end of a request is early, so that rounding adds no cycle."""


@dataclass(frozen=True)
class Work:
    """Cycles that requests need, for each draft length of a schedule.

    Attributes
    ----------
    cycles
        Cycles of each request, shape (draft lengths, requests).
    tokens_per_cycle
        Tokens per cycle by which cycles of different draft lengths are weighted, shape (draft lengths,).
    of_batch
        Index of the draft length at each batch, shape (batches from 0,).
    """

    cycles: NDArray[np.int64]
    tokens_per_cycle: FloatArray
    of_batch: IntArray


class BatchingLoop:
    """State of one run."""

    def __init__(self, requests: Requests, lists: StepLists, work: Work, *, seats: int, budget: int, pool: float):
        self.arrival = requests.arrival_s.tolist()
        self.prompt = requests.input_tokens.tolist()
        self.done = requests.cached_tokens.tolist()  # tokens of the prompt that are computed
        self.answer = requests.output_tokens.tolist()
        self.count, self.following = len(self.arrival), 0
        self.closed = bool(np.isinf(requests.arrival_s[-1]))
        scale = work.tokens_per_cycle / work.tokens_per_cycle[0]  # exactly 1 without a schedule
        weighted = work.cycles * scale[:, None]
        self.work = weighted.tolist()
        self.rates = ((requests.output_tokens - 1) / np.maximum(weighted, 1e-300)).tolist()  # tokens of a cycle
        self.weight = scale[work.of_batch].tolist()
        self.of_batch = [*work.of_batch.tolist()[1:], int(work.of_batch[-1])]  # once one more decodes
        self.lists, self.seats, self.budget, self.pool = lists, seats, budget, pool
        self.widest = max(lists.width[batch] // batch for batch in range(1, seats + 1))  # most tokens of a cycle
        self.now = self.cycle = self.decoding_kv = self.growth = self.stall = 0.0
        self.reading_kv = self.batch = self.preemptions = 0
        self.most_kv = 0.0
        self.waiting: deque[int] = deque()
        self.reading: deque[int] = deque()
        self.line: list[tuple[float, int]] = []  # cycles at which requests end, ascending
        self.order: list[int] = []
        self.admit, self.first, self.finish = ([inf] * self.count for _ in range(3))
        self.end: list[float] = [-1.0] * self.count  # cycle at which a decoding request ends
        self.schedule = len(self.rates) > 1  # without one, the rate of a request is known before it starts
        self.begin, self.rate = [0.0] * self.count, [0.0] * self.count if self.schedule else self.rates[0]
        self.left = [0.0] * self.count  # work that a preempted request has left
        self.gaps: list[float] = []
        self.times: list[float] = []
        self.spans: list[tuple[float, float, int, float, int, int]] = []

    def run(self, policy: str) -> None:
        """Run until all requests are done."""
        first = policy == PREFILL_FIRST
        arrival, width, weight = self.arrival, self.lists.width, self.weight
        while True:
            if self.following < self.count and arrival[self.following] <= self.now:
                come = bisect_right(arrival, self.now, self.following)
                self.waiting.extend(range(self.following, come))
                self.following = come
            while self.decoding_kv + self.reading_kv + self.growth * weight[self.batch] > self.pool:
                if self.batch + len(self.reading) < 2:  # a single request always fits
                    break
                self._preempt()
            if self.waiting or self.reading:
                tokens, chunks_s, ended = self._schedule(self.budget if first else self.budget - width[self.batch])
                if tokens:
                    self._read(tokens, chunks_s, ended, alone=first)
                    continue
            if self.batch:
                self._decode()
            elif self.following < self.count:
                self.now = arrival[self.following]
            else:
                return

    def _schedule(self, room: int) -> tuple[int, float, list[int]]:
        """Take prompts into an iteration; return their tokens, attention seconds, and those that end in it.

        A prompt starts if a seat is free and the pool holds it, with one more cycle of all that then decode.
        """
        all_room, chunks_s, now, admit = room, 0.0, self.now, self.admit
        ended: list[int] = []
        reading, waiting, done, prompt = self.reading, self.waiting, self.done, self.prompt
        fresh_s, chunk_s, widest, pool = self.lists.attention[0], self.lists.chunk_s, self.widest, self.pool
        decoding_kv, reading_kv, free = self.decoding_kv, self.reading_kv, self.seats - self.batch
        more = self.growth * self.weight[self.batch]
        while room > 0:
            if reading:
                who = reading[0]
                whole = prompt[who]
            elif waiting and free > len(ended):
                who = waiting[0]
                whole = prompt[who]
                needed = decoding_kv + reading_kv + (more + (len(ended) + 1) * widest) + whole
                if needed > pool and (self.batch or reading_kv):
                    break
                reading_kv += whole
                reading.append(waiting.popleft())
                if admit[who] == inf:
                    admit[who] = now
            else:
                break
            old = done[who]
            chunk = whole - old
            if chunk > room:
                done[who], chunk = old + room, room
            else:
                done[who] = whole
                ended.append(reading.popleft())
            chunks_s += chunk_s(chunk, old) if old else fresh_s[chunk]
            room -= chunk
        self.reading_kv = reading_kv
        return all_room - room, chunks_s, ended

    def _read(self, tokens: int, chunks_s: float, ended: list[int], *, alone: bool) -> None:
        """Run one iteration with prompts."""
        batch, lists = 0 if alone else self.batch, self.lists
        x = self.decoding_kv / (batch * lists.context_step) if batch else 0.0
        seconds = lists.mixed_s(batch, x, tokens=tokens, chunks_s=chunks_s, sampled=len(ended))
        kv, now, start = self.decoding_kv + self.reading_kv, self.now + seconds, len(self.gaps)
        self.spans.append((self.now, now, self.batch + len(ended) + len(self.reading), kv, start, batch))
        if kv > self.most_kv:
            self.most_kv = kv
        self.times.append(now)
        self.gaps.append(seconds + (self.stall if batch else 0.0))
        self.stall = 0.0 if batch or not self.batch else self.stall + seconds
        self.now = now
        if batch:
            step = self.weight[batch]
            self.cycle += step
            self.decoding_kv += self.growth * step
            self._leave()
        if ended:
            self._start(ended)

    def _decode(self) -> None:
        """Run iterations of decodes until a request ends, one may start, or the pool is full."""
        batch, lists, now, cycle = self.batch, self.lists, self.now, self.cycle
        step, size = self.weight[batch], batch * lists.context_step
        base, slope = lists.base[batch], lists.slope[batch]
        x, more = self.decoding_kv / size, self.growth * step / size
        full = (self.pool - self.reading_kv) / size - more if batch > 1 else inf
        stop = self.line[0][0]
        open_seat = batch < self.seats and not self.waiting and not self.reading and not self.closed
        arrival = self.arrival[self.following] if open_seat and self.following < self.count else inf
        gaps, times, start = self.gaps, self.times, len(self.gaps)
        kv = self.decoding_kv
        while True:
            cell = int(x)
            seconds = base[cell] + slope[cell] * x
            now += seconds
            cycle += step
            x += more
            gaps.append(seconds)
            times.append(now)
            if cycle >= stop or now >= arrival or x > full:
                break
        if self.stall:
            gaps[start] += self.stall
            self.stall = 0.0
        self.cycle, self.decoding_kv = cycle, x * size
        kv = (kv + self.decoding_kv) / 2.0 + self.reading_kv
        self.spans.append((self.now, now, batch + len(self.reading), kv, start, batch))
        if kv > self.most_kv:
            self.most_kv = kv
        self.now = now
        self._leave()

    def _start(self, ended: list[int]) -> None:
        """Begin to decode the requests whose prompts were read in this iteration."""
        now, cycle, batch, growth, decoding_kv = self.now, self.cycle, self.batch, self.growth, self.decoding_kv
        first, prompt, answer, begin, ends = self.first, self.prompt, self.answer, self.begin, self.end
        rate, works, rates, of_batch, line, order = (
            *(self.rate, self.work, self.rates),
            *(self.of_batch, self.line, self.order),
        )
        schedule = self.schedule
        for who in ended:
            tokens = prompt[who]
            self.reading_kv -= tokens
            if first[who] == inf:
                first[who] = now
                if answer[who] == 1:
                    self.finish[who] = now
                    if self.closed:
                        self._follow(1)
                    continue
                if schedule:
                    row = of_batch[batch]
                    work, rate[who] = works[row][who], rates[row][who]
                else:
                    work = works[0][who]
            else:  # it was preempted
                work = self.left[who]
            begin[who] = cycle
            ends[who] = end = cycle + work - _EARLY
            insort(line, (end, who))
            order.append(who)
            batch += 1
            growth += rate[who]
            decoding_kv += tokens
        self.batch, self.growth, self.decoding_kv = batch, growth, decoding_kv

    def _leave(self) -> None:
        """Remove the requests that have ended."""
        kv = self.decoding_kv + self.reading_kv
        if kv > self.most_kv:
            self.most_kv = kv
        line, cycle, ends = self.line, self.cycle, self.end
        gone, past = [], 0
        for end, who in line:
            if end > cycle:
                break
            past += 1
            if ends[who] == end:
                ends[who] = -1.0
                gone.append(who)
        del line[:past]
        if gone:
            self._stop(gone)
            if self.closed:
                self._follow(len(gone))

    def _stop(self, gone: list[int]) -> None:
        """Take requests out of the batch; one that is preempted ends again later."""
        now, cycle, prompt, rates, begin = self.now, self.cycle, self.prompt, self.rate, self.begin
        growth, decoding_kv, finish = self.growth, self.decoding_kv, self.finish
        for who in gone:
            finish[who] = now
            rate = rates[who]
            growth -= rate
            decoding_kv -= prompt[who] + rate * (cycle - begin[who])
        self.batch -= len(gone)
        self.growth, self.decoding_kv = (growth, decoding_kv) if self.batch else (0.0, 0.0)  # rounding

    def _follow(self, count: int) -> None:
        """Let clients of a closed loop, whose requests have ended, send their next ones."""
        come = range(self.following, min(self.following + count, self.count))
        for who in come:
            self.arrival[who] = self.now
        self.waiting.extend(come)
        self.following = come.stop

    def _preempt(self) -> None:
        """Return the request that started last to the head of the queue; its tokens are computed again."""
        self.preemptions += 1
        if self.reading:
            who = self.reading.pop()
            self.reading_kv -= self.prompt[who]
            self.done[who] = 0
        else:
            while self.end[self.order[-1]] < 0.0:
                self.order.pop()
            who = self.order.pop()
            self.left[who] = self.end[who] + _EARLY - self.cycle
            emitted = int(self.rate[who] * (self.cycle - self.begin[who]))
            self.end[who] = -1.0
            self._stop([who])
            self.prompt[who] += emitted
            self.done[who] = 0
        self.waiting.appendleft(who)
