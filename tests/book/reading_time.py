"""How long the sections of a chapter take to read: the estimate of the instructor's guide."""

from __future__ import annotations

import re

WORDS_A_MINUTE = 120
# Minutes for what is looked at rather than read.
MINUTES = {"notebook-figure": 1, "math": 0.5, "code-block": 0.5, "explorer": 3}
NOT_READ = ("Quiz", "Exercises", "Further reading")


def sections(page: str) -> list[tuple[str, int]]:
    """Each section's title up to its colon, and its minutes."""
    found = []
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        if title in NOT_READ:
            continue
        blocks = re.compile(r"^(`{3,})\{([a-z-]+)\}.*?^\1$", re.MULTILINE | re.DOTALL)
        looked_at = sum(MINUTES.get(kind, 0) for _, kind in blocks.findall(text))
        read = blocks.sub(lambda m: "" if m[2] in MINUTES or m[2] == "index" else m[0], text)
        words = len(read.split())
        found.append((title.partition(":")[0], max(1, round(looked_at + words / WORDS_A_MINUTE))))
    return found
