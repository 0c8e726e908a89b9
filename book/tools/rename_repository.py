"""`make rename-repository URL=https://github.com/owner/name`: renames it in every tracked file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml


def pages_address(repository: str) -> str:
    """Where GitHub Pages shows the repository owner/name."""
    owner, name = repository.split("/")
    return f"https://{owner.lower()}.github.io/{name}/"


def main(url: str) -> None:
    if not (new := re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+)", url)):
        sys.exit(f"URL={url!r}: must look like https://github.com/owner/name")
    config = yaml.safe_load(Path("_config.yml").read_text(encoding="utf-8"))
    old = config["repository"]["url"].removeprefix("https://github.com/")
    renamed = {old: new[1], pages_address(old): pages_address(new[1])}
    patterns = [part for name in renamed for part in ("-e", name)]
    found = subprocess.run(["git", "grep", "-lIzF", *patterns], stdout=subprocess.PIPE, text=True)
    for path in map(Path, found.stdout.split("\0")[:-1]):
        text = path.read_text(encoding="utf-8")
        for before, after in renamed.items():
            text = text.replace(before, after)
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
