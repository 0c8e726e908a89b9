"""A pytest plugin for nbval: kernels that listen on sockets of their own, not on TCP ports.

Two kernels that start at the same moment may choose the same port, and then one of them never
answers: with two workers that breaks `make test` now and then.
"""

import tempfile
from pathlib import Path

import nbval.kernel
from jupyter_client.manager import KernelManager

_folders: list[tempfile.TemporaryDirectory] = []  # removed when the tests end


def manager(**options: object) -> KernelManager:
    # A short path: a socket's name has room for about a hundred characters.
    _folders.append(tempfile.TemporaryDirectory(prefix="nb-"))
    folder = Path(_folders[-1].name)
    return KernelManager(
        transport="ipc",
        ip=str(folder / "kernel"),
        connection_file=str(folder / "kernel.json"),
        **options,
    )


nbval.kernel.KernelManager = manager
