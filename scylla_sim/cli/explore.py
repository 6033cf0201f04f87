"""``scylla-sim explore``: a page that draws predictions, served on this machine or written as one file."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import webbrowser
from pathlib import Path

from scylla_sim.checks import whole
from scylla_sim.cli import _options
from scylla_sim.console import note
from scylla_sim.explore.html import page, plotly_script
from scylla_sim.explore.page_data import load_data, page_data
from scylla_sim.explore.server import HOST, Explorer, server_of
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.records import write_text

EPILOG = """examples:
  scylla-sim explore --model llama-3.1-8b --hardware h100-sxm --draft eagle3
  scylla-sim explore --model llama-3.1-8b --hardware h100-sxm --draft eagle3 --export page.html
the exported file needs no network and no server; it holds one deployment
"""

PORT = 8050
"""Port of the server by default."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("--model", default="llama-3.1-8b", metavar="NAME|config.json")
    parser.add_argument("--hardware", default="h100-sxm", metavar="NAME|FILE.toml")
    parser.add_argument("--draft", default="eagle3", metavar="NAME|config.json")
    parser.add_argument("--tp", type=int, default=1, metavar="N", help="tensor-parallel GPUs; default 1")
    _options.add_precision_arguments(parser)
    parser.add_argument("--draft-precision", help="of the draft; default: of its checkpoint, or --precision")
    _options.add_engine_argument(parser)
    parser.add_argument(
        "--runs", metavar="FILE", help="published serving runs; default: those of the package paper"
    )
    parser.add_argument("--export", metavar="FILE", help="write the page as one file instead of serving it")
    parser.add_argument("--port", type=int, default=PORT, help=f"of the server; default {PORT}; 0 takes a free one")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")


def _shipped_runs() -> str | None:
    """Return the path of the published serving runs, if the package ``paper`` is installed."""
    found = importlib.util.find_spec("paper")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / "published" / "served_runs.csv"
        if path.exists():
            return str(path)
    return None


def execute(args: argparse.Namespace) -> int:
    """Serve the page, or write it."""
    port = int(whole("port", args.port, 0, 65535))
    scenario = Scenario(
        args.model,
        hardware=args.hardware,
        draft=args.draft,
        tp=args.tp,
        precision=args.precision,
        kv_precision=args.kv_precision,
        draft_precision=args.draft_precision,
        engine=args.engine,
    )
    runs = args.runs or _shipped_runs()
    if args.export:
        library = plotly_script()
        data = page_data(scenario, runs=runs) | {"load": load_data(scenario, checked=True)}
        write_text(args.export, page(data, library=library))
        note(f"wrote {args.export}")
        return 0
    explorer = Explorer(scenario, runs)
    explorer.data({})  # bad input is an error before the server starts
    server = server_of(explorer, port)
    address = f"http://{HOST}:{server.server_address[1]}/"
    print(f"serving {address}; stop with Ctrl-C", flush=True)
    if not args.no_browser:
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    finally:
        server.server_close()
    return 0
