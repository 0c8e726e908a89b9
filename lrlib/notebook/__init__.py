"""What the book's notebooks show: checked claims, tables, figures, live figures, recorded results.

Needs `pip install "lrlib[book]"`.
"""

from lrlib._extras import require

require("book", "IPython", "anywidget", "cycler", "matplotlib", "pandas", "traitlets")

from lrlib.notebook import outputs, plots, records  # noqa: E402
from lrlib.notebook.explorers import explorer  # noqa: E402
from lrlib.notebook.outputs import *  # noqa: E402
from lrlib.notebook.plots import *  # noqa: E402
from lrlib.notebook.records import *  # noqa: E402

__all__ = ["explorer", *outputs.__all__, *plots.__all__, *records.__all__]
