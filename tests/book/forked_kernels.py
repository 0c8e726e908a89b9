"""A pytest plugin for nbval: kernels that are copies of a process which has imported torch.

Each notebook would import torch and its company anew, for five seconds. lrlib is imported by the
kernel itself. `make test-long` tries kernels that start from nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib import import_module

PRELOADED = [
    "anywidget",
    "matplotlib.pyplot",
    "scipy.stats",
    "sklearn.datasets",
    "torch._dynamo",  # an optimizer imports it
    "torchvision",
]


class Copy:
    """What jupyter_client asks of a process that it has started."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        with suppress(ProcessLookupError):
            return os.kill(self.pid, 0)
        return 0

    def wait(self) -> int:
        return 0  # jupyter_client has polled until it had ended

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


@cache
def server() -> subprocess.Popen[str]:
    environment = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, __file__], stdin=pipe, stdout=pipe, text=True, env=environment
    )


def launch(command: list[str], *, cwd: str, env: dict[str, str], **_: object) -> Copy:
    assert command[1:3] == ["-m", "ipykernel_launcher"]
    pipes = server()
    print(json.dumps([command[3:], cwd, env]), file=pipes.stdin, flush=True)
    return Copy(int(pipes.stdout.readline()))


def serve() -> None:
    """Starts a kernel for each line; ends with the process that writes the lines."""
    for name in PRELOADED:
        import_module(name)
    from ipykernel import kernelapp

    del sys.path[0]  # the folder of this file
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    for line in sys.stdin:
        arguments, cwd, env = json.loads(line)
        if os.fork():
            continue
        os.setsid()
        print(os.getpid(), flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        os.environ.clear()
        os.environ.update(env, JPY_PARENT_PID=str(os.getppid()))
        os.chdir(cwd)
        sys.argv[1:] = arguments
        kernelapp.launch_new_instance()
        return


if __name__ == "__main__":
    serve()
else:
    import jupyter_client.provisioning.local_provisioner

    jupyter_client.provisioning.local_provisioner.launch_kernel = launch
