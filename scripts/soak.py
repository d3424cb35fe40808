#!/usr/bin/env python3
"""Load a running service with twice what it can answer, from clients of all manners, and say whether it bears it.

    tasnif serve --model default --cache-mb 0 &
    scripts/soak.py --minutes 30 --record soak.json

Its texts come again: with a cache of readings the load would be the cache's, hence `--cache-mb 0`.

It measures the saturated rate first: a closed loop of well-behaved clients, each of which asks again as soon as it is
answered. Then requests come at random at twice that rate, whatever becomes of them: posts, articles of up to 60,000
characters, stance targets, labels, many articles in a call, streams; and beside them clients in a hurry, clients that
leave, that send a byte at a time, that take their answer in sips, and forty kinds of malformed requests.

What is asked of the service:
  no crash, no restart, and /metrics answered all the time;
  resident memory flat after the first five minutes (of a run under ten minutes: in its second half);
  every accepted request answered within its deadline;
  99 of 100 refusals (429, 503 and other 4xx) there in less than 10 ms, as the client sees it;
  a goodput of 90 % of the saturated rate, in tokens of answered articles and in tokens that were encoded.

The exit status is 0 if all of that was met, 1 if not. The record is written every ten seconds: a run that
is cut leaves what it had. The client needs little, and its share of a processor is in the record; run it as root, so
that it may take priority, where the service uses all processors: else its own wait for one counts as the service's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tasnif_soak import figures, load, mix
from tasnif_soak.figures import Memory, Tally, percentile
from tasnif_soak.wire import Pool

DATA = Path(__file__).resolve().parent / "data"
SAMPLE_EVERY = 10.0
# Of the closed loop, before its rate counts.
RAMP = 5
OVERLOAD = 2.0


class Watch:
    """The service's own figures, every ten seconds: its memory, and whether it is still the same process."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.begun = time.monotonic()
        self.memory: list[tuple[float, float]] = []
        # Encoded tokens by time.
        self.encoded: list[tuple[float, float]] = []
        self.failures: list[str] = []
        self.last: dict[str, float] = {}

    async def sample(self) -> dict[str, float]:
        try:
            async with asyncio.timeout(SAMPLE_EVERY):
                found = figures.metrics((await self.pool.get("/metrics")).decode())
        except (*load.Broken, TimeoutError) as error:
            self.failures.append(f"{time.monotonic() - self.begun:.0f} s: /metrics: {error!r}")
            return self.last
        requests = "tasnif_http_requests_total"
        if found.get(requests, 0) < self.last.get(requests, 0):
            self.failures.append(f"{time.monotonic() - self.begun:.0f} s: the counters began anew: it was restarted")
        now = time.monotonic()
        self.memory.append((now - self.begun, found.get("process_resident_memory_bytes", 0)))
        self.encoded.append((now, found.get("tasnif_batch_tokens_sum", 0)))
        self.last = found
        return found


def phase(tally: Tally, watch: Watch, begin: float, end: float) -> dict[str, Any]:
    """Rates of what was answered between two times, and of what was encoded, by the samples between them."""
    seconds = int(begin - tally.begun), int(end - tally.begun)
    samples = [sample for sample in watch.encoded if begin - 1 <= sample[0] <= end + 1]
    # A service that has fallen silent has none.
    (first, before), (last, after) = (samples[0], samples[-1]) if samples else ((begin, 0.0), (end, 0.0))
    return {
        "requests_s": tally.rate(tally.requests, *seconds),
        "articles_s": tally.rate(tally.articles, *seconds),
        "tokens_s": tally.rate(tally.tokens, *seconds),
        "encoded_s": (after - before) / max(last - first, 1e-9),
    }


class Run:
    """One run, and its record as far as it is."""

    def __init__(self, args: argparse.Namespace) -> None:
        url = urlsplit(args.url)
        if url.scheme != "http" or url.hostname is None:
            raise SystemExit(f"error: --url {args.url}: http://HOST:PORT is expected")
        self.args = args
        self.pool = Pool(url.hostname, url.port or 80)
        self.watch = Watch(self.pool)
        self.clients = load.Clients(self.pool, args.deadline, args.seed)
        self.ordinary, self.trying = mix.decks(texts(args.articles), f"{self.pool.host}:{self.pool.port}", args.seed)
        self.saturated: dict[str, Any] = {}
        self.offered = 0.0
        self.tally: Tally | None = None

    async def go(self) -> None:
        args = self.args
        try:
            ready = json.loads(await self.pool.get("/health/ready"))
        except load.Broken as error:
            raise SystemExit(f"error: {args.url} is not ready: {error}; start it with `tasnif serve`") from error
        print(f"{args.url}: {', '.join(model['name'] for model in ready['models'])}", file=sys.stderr)
        measuring = asyncio.create_task(
            load.closed(self.clients, self.ordinary, args.concurrency, args.saturate_seconds)
        )
        await asyncio.sleep(RAMP)
        begun = time.monotonic()
        await self.watch.sample()
        await asyncio.sleep(args.saturate_seconds - RAMP)
        await self.watch.sample()
        ended = time.monotonic()
        tally = await measuring
        self.saturated = phase(tally, self.watch, begun, ended)
        self.saturated |= {"refused": len(tally.refused()), "odd": tally.odd}
        if self.saturated["tokens_s"] == 0:
            raise SystemExit(f"error: nothing was answered, so there is nothing to overload: {tally.odd[:3]}")
        # The trying clients come on top.
        share = 1 + sum(mix.TRYING.values()) / sum(mix.ORDINARY.values())
        self.offered = OVERLOAD * self.saturated["requests_s"] * share
        print(
            f"saturated: {self.saturated['requests_s']:.1f} requests/s, {self.saturated['tokens_s']:.0f} tokens/s; "
            f"offering {self.offered:.1f} requests/s for {args.minutes:g} min",
            file=sys.stderr,
        )
        await self.watch.sample()
        watching = asyncio.create_task(self.keep_watch())
        try:
            await load.opened(self.clients, self.trying, self.offered, args.minutes * 60, self.started)
        finally:
            watching.cancel()
        await self.watch.sample()

    def started(self, tally: Tally) -> None:
        self.tally = tally

    async def keep_watch(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_EVERY)
            found = await self.watch.sample()
            self.save()
            if self.tally is not None:
                tally = self.tally
                print(
                    f"{(time.monotonic() - tally.begun) / 60:5.1f} min  "
                    f"{found.get('process_resident_memory_bytes', 0) / 1e6:6.0f} MB  "
                    f"queue {found.get('tasnif_queue_tokens', 0):6.0f}  "
                    f"200: {tally.count('200')}  429: {tally.count('429')}  late: {tally.count('late')}  "
                    f"lost: {tally.count('lost')}  odd: {tally.oddities}  "
                    f"refused within {1000 * percentile(tally.refused(), 0.99):.1f} ms (p99)",
                    file=sys.stderr,
                )

    def save(self) -> None:
        whole = self.args.record.with_suffix(".part")
        whole.write_text(json.dumps(self.record(), indent=1, ensure_ascii=False), encoding="utf-8")
        whole.replace(self.args.record)

    def record(self) -> dict[str, Any]:
        tally = self.tally or Tally(time.monotonic())
        elapsed = time.monotonic() - tally.begun
        # What is answered behind the last request isn't under load any more.
        overload = phase(tally, self.watch, tally.begun, tally.begun + min(elapsed, self.args.minutes * 60))
        overload["goodput"] = {
            what: overload[key] / max(self.saturated[key], 1e-9)
            for what, key in (("articles", "articles_s"), ("tokens", "tokens_s"), ("encoded tokens", "encoded_s"))
        }
        late, lost = tally.count("late"), tally.count("lost")
        overload |= {"accepted": tally.count("200") + late + lost, "late": late, "lost": lost}
        memory, refused = Memory(self.watch.memory), tally.refused()
        outcomes: dict[str, dict[str, int]] = {}
        for (kind, outcome), count in sorted(tally.outcomes.items()):
            outcomes.setdefault(kind, {})[outcome] = count
        return {
            "url": self.args.url,
            "begun": time.strftime(
                "%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - (time.monotonic() - self.watch.begun))
            ),
            "minutes": min(elapsed / 60, self.args.minutes),
            "seed": self.args.seed,
            "saturated": self.saturated,
            "offered_s": self.offered,
            "overload": overload,
            "answers": {"p50_s": percentile(tally.answers, 0.5), "p99_s": percentile(tally.answers, 0.99)},
            "refusals": {
                "count": len(refused),
                "p50_ms": 1000 * percentile(refused, 0.5),
                "p99_ms": 1000 * percentile(refused, 0.99),
                "max_ms": 1000 * max(refused, default=float("nan")),
                "p99_ms_by_kind": {
                    kind: round(1000 * percentile(seconds, 0.99), 2) for kind, seconds in sorted(tally.refusals.items())
                },
            },
            "memory": {
                "growth": memory.growth(),
                "slope_mb_h": memory.slope() / 1e6,
                "max_mb": max((size for _, size in memory.samples), default=0) / 1e6,
                "samples": [[round(second), int(size)] for second, size in memory.samples],
            },
            "outcomes": outcomes,
            "errors": dict(tally.errors),
            "oddities": tally.oddities,
            "odd": tally.odd,
            "failures": self.watch.failures,
            "client": {
                "cpu": time.process_time() / max(time.monotonic() - self.watch.begun, 1),
                "lateness_p99_ms": 1000 * percentile(tally.lateness, 0.99),
            },
        }


def texts(files: list[Path]) -> list[str]:
    def lines() -> Iterator[str]:
        for file in files:
            with file.open(encoding="utf-8") as rows:
                yield from (json.loads(row)["text"] for row in rows)

    return list(lines())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the service [%(default)s]")
    parser.add_argument("--minutes", type=float, default=30, help="of overload [%(default)s]")
    parser.add_argument("--saturate-seconds", type=float, default=60, help="of the closed loop [%(default)s]")
    parser.add_argument("--concurrency", type=int, default=24, help="clients of the closed loop [%(default)s]")
    parser.add_argument(
        "--deadline", type=float, default=300, metavar="SECONDS", help="the service's --deadline-seconds [%(default)s]"
    )
    parser.add_argument(
        "--articles",
        nargs="+",
        type=Path,
        default=[DATA / "written.jsonl"],
        metavar="JSONL",
        help="texts that the requests are made of [those written for this repository]",
    )
    parser.add_argument("--seed", type=int, default=7, help="of the requests and their times [%(default)s]")
    parser.add_argument("--record", type=Path, default=Path("soak.json"), help="[%(default)s]")
    args = parser.parse_args()

    # Where it may: so that what is measured is the service, not this client's wait for a processor.
    with contextlib.suppress(OSError):
        os.nice(-10)
    run = Run(args)
    try:
        asyncio.run(run.go())
    except KeyboardInterrupt:
        print("interrupted: this is what there was until now", file=sys.stderr)
    if run.tally is None:
        raise SystemExit(1)
    run.save()
    record = run.record()
    print(figures.summary(record))
    raise SystemExit(not all(check.met for check in figures.checks(record)))


if __name__ == "__main__":
    main()
