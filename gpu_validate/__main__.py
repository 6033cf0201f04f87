"""Entry point of ``python -m gpu_validate``, the same program as ``gpu-validate``."""

from gpu_validate.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
