"""lrlib: learning-rate schedules, and what an optimizer does with them. Needs torch and numpy.

Each module says in `__all__` which of its names are public; all of them can be imported from here.
The experiments of the book are in `lrlib.lab`, what its notebooks show in `lrlib.notebook`.
"""

from lrlib import checkup, finder, lr_dropout, param_groups, plateau, rates, schedules, widths
from lrlib.checkup import *
from lrlib.finder import *
from lrlib.lr_dropout import *
from lrlib.param_groups import *
from lrlib.plateau import *
from lrlib.rates import *
from lrlib.schedules import *
from lrlib.widths import *

__version__ = "0.1.0"

_modules = (schedules, rates, param_groups, widths, plateau, lr_dropout, finder, checkup)
__all__ = [name for module in _modules for name in module.__all__]
