"""What the site's bundle keeps and drops, on small inputs; `test_site` looks at the whole."""

from __future__ import annotations

import re
from pathlib import Path

import pydata_sphinx_theme
import pytest
from lean import missing_icons, pruned, rebased


@pytest.mark.parametrize(
    ("css", "kept"),
    [
        (".used{color:red;}", ".used{color:red;}"),
        (".unused{color:red;}", ""),
        ("#used a, .unused b {color : red}", "#used a{color:red;}"),
        (".used.unused{color:red;}", ""),
        ("p, a:is(.unused, .used){color:red;}", "p,a:is(.unused, .used){color:red;}"),
        (r".col-5\/12{color:red;}", ""),
        (".lr-anything{color:red;}", ".lr-anything{color:red;}"),
        ("@media print{.used{color:red;} .unused{color:red;}}", "@media print{.used{color:red;}}"),
        ("@media print{.unused{color:red;}}", ""),
        ("/* a comment */ p{/* another */color:red;}", "p{color:red;}"),
        ("@keyframes turn{to{rotate:1turn}}", "@keyframes turn{to{rotate:1turn}}"),
        ("@font-face{src:url(katex.woff2)}", "@font-face{src:url(katex.woff2)}"),
        ("@font-face{src:url(fontawesome.woff2)}", ""),
    ],
)
def test_only_rules_that_something_can_match_are_kept(css: str, kept: str) -> None:
    assert pruned(css, {"used"}) == kept


def test_only_variables_that_something_reads_are_kept() -> None:
    css = "p{--a: 1;--ab: var(--a);--script: 3;--lr-x:4;color: red !important} b{--c: url('a;b}')}"
    assert pruned(css, {"--script"}) == "p{--script:3;--lr-x:4;color:red!important;}"
    css = "p{--a:1;color:var(--a, red);} .unused{--b:1;color:var(--b);}"
    assert pruned(css, set()) == "p{--a:1;color:var(--a, red);}"


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("url(fonts/a.woff2?v=1)", "url(katex/fonts/a.woff2)"),
        ("url('../a.png')", "url(a.png)"),
        ("url(data:image/png;base64,AA==)", "url(data:image/png;base64,AA==)"),
        ("url(#mask)", "url(#mask)"),
    ],
)
def test_addresses_lead_from_the_bundle_to_the_same_file(
    tmp_path: Path, written: str, seen: str
) -> None:
    sheet = tmp_path / "katex" / "katex.css"
    sheet.parent.mkdir()
    sheet.write_text(f"p{{src:{written}}}", encoding="utf-8")
    assert rebased(sheet, tmp_path) == f"p{{src:{seen}}}"


def test_an_icon_that_the_stylesheet_lacks_is_named() -> None:
    tags = '<i class="fa-solid fa-bars"> <i class="fas fa-file"> <i class="fas fa-file-pdf">'
    css = ".fa-solid{} .fa-bars{} .fa-file-pdf{}"
    assert missing_icons(tags, css) == ["fa-file"]


def test_each_icon_is_the_one_that_the_theme_draws_by_its_name() -> None:
    theme = Path(pydata_sphinx_theme.__file__).parent / "theme/pydata_sphinx_theme/static"
    drawn = (theme / "scripts" / "fontawesome.js").read_text(encoding="utf-8")
    css = (Path(__file__).parents[2] / "book/_static/icons.css").read_text(encoding="utf-8")
    icons = re.findall(r"\.fa-([\w-]+) .*viewBox='0 0 (\d+) (\d+)'><path d='([^']*)'", css)
    assert len(icons) > 10
    for name, width, height, path in icons:
        start = rf'[{{,]"?{name}"?:\[{width},{height},\[[^]]*\],"\w+","'
        assert re.search(start + re.escape(path), drawn), name
