"""Whether torch.compile finds the C++ compiler that it needs, on a GPU too."""

import os
import shutil
import sys

from src.errors import UserError


def check_compiler(setting: str) -> None:
    """Refuse `setting`, as in "compile (true)", on a machine without one.

    Raises:
        UserError: neither what CXX names nor the system's own is there, which is where torch looks.
    """
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name) is None:
        raise UserError(
            f"{setting} needs a C++ compiler, and {name} is not there; install it or leave the setting out."
        )
