"""Entry point of ``python -m scylla_sim``, which is the command ``scylla-sim``."""

from scylla_sim.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
