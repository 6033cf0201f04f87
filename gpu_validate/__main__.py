"""``python -m gpu_validate`` is ``gpu-validate``."""

from gpu_validate.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
