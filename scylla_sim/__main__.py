"""``python -m scylla_sim`` is ``scylla-sim``."""

from scylla_sim.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
