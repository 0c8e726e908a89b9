"""One error for a missing extra: it names the command that installs it."""

from importlib.util import find_spec


def require(extra: str, *modules: str) -> None:
    """Raises ImportError where one of the modules that the extra brings can't be found."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        room = {"lab": "lrlib.lab", "book": "lrlib.notebook"}[extra]
        raise ImportError(
            f"{room} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} "
            f'not installed here. Install with: pip install "lrlib[{extra}]"'
        )
