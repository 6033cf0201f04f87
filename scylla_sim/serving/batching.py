"""The loop of continuous batching, iteration by iteration.

Each iteration decodes all running requests and reads prompts within the token budget (``mixed``), or reads prompts
alone as long as any wait (``prefill-first``). Requests start in the order of their arrivals, as soon as a seat is
free and the KV pool holds their prompt. A request that cannot grow preempts the one that started last, which
computes its tokens again.

The loop uses lists, and one heap entry per request. The entry is the number of cycles at which the request ends,
drawn before the run (`scylla_sim.serving.workload.draw_cycles`). Between its start and its end a request grows
evenly in the KV cache.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
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
        self.work = (work.cycles * scale[:, None]).tolist()
        self.weight = scale[work.of_batch].tolist()
        self.of_batch = [*work.of_batch.tolist()[1:], int(work.of_batch[-1])]  # once one more decodes
        self.lists, self.seats, self.budget, self.pool = lists, seats, budget, pool
        self.widest = max(lists.width[batch] // batch for batch in range(1, seats + 1))  # most tokens of a cycle
        self.now = self.cycle = self.decoding_kv = self.growth = self.stall = 0.0
        self.reading_kv = self.batch = self.preemptions = 0
        self.most_kv = 0.0
        self.waiting: deque[int] = deque()
        self.reading: deque[int] = deque()
        self.heap: list[tuple[float, int]] = []
        self.order: list[int] = []
        self.admit, self.first, self.finish = ([inf] * self.count for _ in range(3))
        self.end: list[float] = [-1.0] * self.count  # cycle at which a decoding request ends
        self.begin, self.rate = [0.0] * self.count, [0.0] * self.count
        self.left: list[float] = [-1.0] * self.count  # work that a preempted request has left
        self.gaps: list[float] = []
        self.times: list[float] = []
        self.spans: list[tuple[float, float, int, float, int, int]] = []

    def run(self, policy: str) -> None:
        """Run until all requests are done."""
        first = policy == PREFILL_FIRST
        while True:
            while self.following < self.count and self.arrival[self.following] <= self.now:
                self.waiting.append(self.following)
                self.following += 1
            while self._full():
                self._preempt()
            if self.waiting or self.reading:
                room = self.budget if first else self.budget - self.lists.width[self.batch]
                tokens, chunks_s, ended = self._schedule(room)
                if tokens:
                    self._read(tokens, chunks_s, ended, alone=first)
                    continue
            if self.batch:
                self._decode()
            elif self.following < self.count:
                self.now = self.arrival[self.following]
            else:
                return

    def _full(self) -> bool:
        """Return whether the next iteration would overflow the pool; a single request always fits."""
        more = self.growth * self.weight[self.batch]
        several = self.batch + len(self.reading) > 1
        return several and self.decoding_kv + self.reading_kv + more > self.pool

    def _schedule(self, room: int) -> tuple[int, float, list[int]]:
        """Take prompts into an iteration; return their tokens, attention seconds, and those that end in it."""
        tokens, chunks_s = 0, 0.0
        ended: list[int] = []
        reading, waiting, done, prompt = self.reading, self.waiting, self.done, self.prompt
        while room > 0:
            if not reading:
                free = self.batch + len(ended) < self.seats
                if not (waiting and free and self._admit(waiting[0], len(ended))):
                    break
                reading.append(waiting.popleft())
                if self.admit[reading[0]] == inf:
                    self.admit[reading[0]] = self.now
            who = reading[0]
            old = done[who]
            chunk = prompt[who] - old
            if chunk > room:
                chunk = room
            chunks_s += self.lists.chunk_s(chunk, old)
            tokens, room = tokens + chunk, room - chunk
            done[who] = old + chunk
            if old + chunk == prompt[who]:
                ended.append(reading.popleft())
        return tokens, chunks_s, ended

    def _admit(self, who: int, starting: int) -> bool:
        """Reserve the pool for a prompt and return whether it fits, with one more cycle of all that then decode."""
        more = self.growth * self.weight[self.batch] + (starting + 1) * self.widest
        alone = not self.batch and not self.reading_kv
        fits = alone or self.decoding_kv + self.reading_kv + more + self.prompt[who] <= self.pool
        if fits:
            self.reading_kv += self.prompt[who]
        return fits

    def _read(self, tokens: int, chunks_s: float, ended: list[int], *, alone: bool) -> None:
        """Run one iteration with prompts."""
        batch = 0 if alone else self.batch
        lists = self.lists
        x = self.decoding_kv / (batch * lists.context_step) if batch else 0.0
        seconds = lists.mixed_s(batch, x, tokens=tokens, chunks_s=chunks_s, sampled=len(ended))
        kv = self.decoding_kv + self.reading_kv
        self._record(self.now + seconds, kv, self.batch + len(ended) + len(self.reading), batch)
        self.times.append(self.now + seconds)
        self.gaps.append(seconds + (self.stall if batch else 0.0))
        self.stall = 0.0 if batch or not self.batch else self.stall + seconds
        self.now += seconds
        if batch:
            step = self.weight[batch]
            self.cycle += step
            self.decoding_kv += self.growth * step
            self._leave()
        for who in ended:
            self._start(who)

    def _decode(self) -> None:
        """Run iterations of decodes until a request ends, one may start, or the pool is full."""
        batch, lists, now, cycle = self.batch, self.lists, self.now, self.cycle
        step, size = self.weight[batch], batch * lists.context_step
        base, slope = lists.base[batch], lists.slope[batch]
        x, more = self.decoding_kv / size, self.growth * step / size
        full = (self.pool - self.reading_kv) / size - more if batch > 1 else inf
        stop = self.heap[0][0]
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
        self._record(now, (kv + self.decoding_kv) / 2.0 + self.reading_kv, batch + len(self.reading), batch, start)
        self.now = now
        self._leave()

    def _record(self, end: float, kv: float, running: int, decodes: int, start: int | None = None) -> None:
        """Note an interval between changes, and the decodes of its iterations."""
        first = len(self.gaps) if start is None else start
        self.spans.append((self.now, end, running, kv, first, decodes))
        if kv > self.most_kv:
            self.most_kv = kv

    def _start(self, who: int) -> None:
        """Begin to decode a request whose prompt was read in this iteration."""
        self.reading_kv -= self.prompt[who]
        if self.first[who] == inf:
            self.first[who] = self.now
            if self.answer[who] == 1:
                self._finished(who)
                return
        work = self.left[who]
        if work < 0.0:
            work = self.work[self.of_batch[self.batch]][who]
            self.rate[who] = (self.answer[who] - 1) / work
        self.begin[who] = self.cycle
        self.end[who] = self.cycle + work - _EARLY
        heappush(self.heap, (self.end[who], who))
        self.order.append(who)
        self.batch += 1
        self.growth += self.rate[who]
        self.decoding_kv += self.prompt[who]

    def _leave(self) -> None:
        """Remove the requests that have ended."""
        kv = self.decoding_kv + self.reading_kv
        if kv > self.most_kv:
            self.most_kv = kv
        heap, cycle = self.heap, self.cycle
        while heap and heap[0][0] <= cycle:
            end, who = heappop(heap)
            if self.end[who] == end:
                self._stop(who)
                self._finished(who)

    def _stop(self, who: int) -> None:
        """Take a request out of the batch."""
        self.end[who] = -1.0
        self.batch -= 1
        self.growth -= self.rate[who]
        self.decoding_kv -= self.prompt[who] + self.rate[who] * (self.cycle - self.begin[who])
        if not self.batch:
            self.growth = self.decoding_kv = 0.0  # rounding

    def _finished(self, who: int) -> None:
        """Note the end of a request, after which a client of a closed loop sends its next one."""
        self.finish[who] = self.now
        if self.closed and self.following < self.count:
            self.arrival[self.following] = self.now
            self.waiting.append(self.following)
            self.following += 1

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
            self._stop(who)
            self.prompt[who] += emitted
            self.done[who] = 0
        self.waiting.appendleft(who)
