"""`make rename-repository URL=https://…`: changes the repository's address wherever it is named."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def pages_address(repository: str) -> str:
    """Where GitHub Pages shows the repository https://github.com/owner/name."""
    owner, name = repository.split("/")[-2:]
    return f"https://{owner.lower()}.github.io/{name}/"


def rename(root: Path, new: str) -> list[str]:
    """Replaces the address that `_config.yml` names by `new` in every tracked text file."""
    if not re.fullmatch(r"https://[\w.-]+/[\w.-]+/[\w.-]+", new):
        sys.exit(f"URL={new!r}: must look like https://github.com/owner/name")
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    old = config["repository"]["url"]
    # Colab and Binder write owner/name without the host.
    replacements = {
        old: new,
        pages_address(old): pages_address(new),
        old.split("/", 3)[3]: new.split("/", 3)[3],
    }
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True
    )
    changed = []
    for name in filter(None, listed.stdout.split("\0")):
        path = root / name
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        renamed = text
        for before, after in replacements.items():
            renamed = renamed.replace(before, after)
        if renamed != text:
            path.write_text(renamed, encoding="utf-8")
            changed.append(name)
    return changed


if __name__ == "__main__":
    for name in rename(ROOT, sys.argv[1] if len(sys.argv) > 1 else ""):
        print(name)
