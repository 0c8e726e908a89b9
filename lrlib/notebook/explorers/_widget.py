"""The explorers as Jupyter widgets; apart, because anywidget takes time to import."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from lrlib.notebook.explorers import _pages


class Explorer(anywidget.AnyWidget):
    """An explorer in a notebook: `state` holds the controls' values, `data` what it looks up."""

    state = traitlets.Dict().tag(sync=True)
    data = traitlets.Dict().tag(sync=True)

    def __init__(self, name: str, state: dict[str, Any]) -> None:
        self.name = name
        # anywidget makes traits of these.
        self._esm = _pages.module(name)
        self._css = _pages.stylesheet()
        super().__init__(state=state, data=_pages.data(name))

    def _repr_mimebundle_(self, **options: Any) -> Any:
        # Beside the widget, for pages that have no kernel: the data and a static figure.
        part = {
            "text/html": _pages.html(self.name, self.state),
            "text/plain": f"explorer({self.name!r})",
        }
        bundle = super()._repr_mimebundle_(**options)
        if isinstance(bundle, tuple):
            return {**bundle[0], **part}, bundle[1]
        return None if bundle is None else {**bundle, **part}
