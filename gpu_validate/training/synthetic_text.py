"""Generated structured text: JSON records, CSV tables and word problems."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random

_SEED = 0
_NAMES = (
    "Ada",
    "Bela",
    "Chen",
    "Dina",
    "Emil",
    "Fay",
    "Gus",
    "Hana",
    "Ivan",
    "June",
    "Kofi",
    "Lena",
    "Mio",
    "Nils",
)
_THINGS = ("apples", "bolts", "cards", "desks", "eggs", "forks", "gears", "hats", "inks", "jars", "keys", "lamps")
_CITIES = ("Accra", "Bergen", "Cairo", "Delhi", "Essen", "Fukuoka", "Graz", "Hanoi", "Izmir", "Jakarta", "Kyoto")
_ROWS = (8, 20)


def _json_document(rng: Random) -> str:
    fields = rng.sample(["id", "name", "city", "price", "count", "active", "tags"], 4)
    make: dict[str, Callable[[], object]] = {
        "id": lambda: rng.randrange(10_000),
        "name": lambda: rng.choice(_NAMES),
        "city": lambda: rng.choice(_CITIES),
        "price": lambda: rng.randrange(1, 5_000) / 100,
        "count": lambda: rng.randrange(100),
        "active": lambda: rng.random() < 0.5,
        "tags": lambda: rng.sample(_THINGS, 2),
    }
    return "".join(json.dumps({name: make[name]() for name in fields}) + "\n" for _ in range(rng.randrange(*_ROWS)))


def _csv_document(rng: Random) -> str:
    lines = ["date,name,city,item,count,total"]
    day, month = rng.randrange(1, 20), rng.randrange(1, 13)
    for row in range(rng.randrange(*_ROWS)):
        count, cents = rng.randrange(1, 30), rng.randrange(50, 900)
        lines.append(
            f"2026-{month:02}-{day + row // 3:02},{rng.choice(_NAMES)},{rng.choice(_CITIES)},{rng.choice(_THINGS)},"
            f"{count},{count * cents / 100:.2f}"
        )
    return "\n".join(lines) + "\n"


def _word_problem(rng: Random) -> str:
    first, second = rng.sample(_NAMES, 2)
    thing = rng.choice(_THINGS)
    have, more, each = rng.randrange(2, 40), rng.randrange(2, 40), rng.randrange(2, 9)
    return (
        f"Q: {first} has {have} {thing}. {second} gives {first} {more} more, and every one of them costs {each}. "
        f"What are they worth?\nA: {have} + {more} = {have + more}. {have + more} * {each} = "
        f"{(have + more) * each}. The answer is {(have + more) * each}.\n"
    )


def structured_documents() -> Iterator[str]:
    """Yield documents of the three kinds in turn, without end."""
    rng = Random(_SEED)
    while True:
        yield _json_document(rng)
        yield _csv_document(rng)
        yield "".join(_word_problem(rng) for _ in range(6))
