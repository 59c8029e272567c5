"""Which environment variables a config may read: a secret that enters a config ends up in files."""

import re
from collections.abc import Iterator
from typing import Any

from src.check.targets import walk
from src.errors import UserError

READABLE = re.compile(
    r"HOME|USER|LOGNAME|HOSTNAME|PWD|TMPDIR|TMP|TEMP|SCRATCH|CUDA_VISIBLE_DEVICES|OMP_NUM_THREADS"
    r"|SLURM_[A-Z0-9_]+|XDG_[A-Z]+_HOME|LOCAL_RANK|RANK|WORLD_SIZE|NODE_RANK"
)
SECRET = re.compile(r"key|token|secret|password|passwd|credential", re.IGNORECASE)
# `${`, the text up to what decides its kind, and that: `:` is a resolver, `}` a key of this config, `${` is built.
INTERPOLATION = re.compile(r"\$\{([^:${}]*)(:|\}|\$\{|)")


def check_environment(raw: Any) -> None:
    """Refuse what would read a secret or an unlisted environment variable. `raw` is the config before resolving.

    Raises:
        UserError: `${oc.env:NAME}` with a NAME that is not listed, or a name put together by another interpolation.
    """
    for key, value in walk(raw):
        if isinstance(value, str):
            for name in environment_names(value, key=key):
                _check_readable(name, key=key)


def environment_names(text: str, *, key: str) -> Iterator[str]:
    """Names that the interpolations of `text` read from the environment."""
    for match in INTERPOLATION.finditer(text):
        resolver, kind = match[1].strip(), match[2]
        if kind == "${":
            raise UserError(
                f"{key} ({text}) builds the name of an interpolation from another one; write the name itself."
            )
        if kind == ":" and "env" in resolver.lower():
            argument = re.split(r"[,}]", text[match.end() :], maxsplit=1)[0]
            yield argument.strip().strip("'\"")


def _check_readable(name: str, *, key: str) -> None:
    if READABLE.fullmatch(name) and not SECRET.search(name):
        return
    raise UserError(
        f"{key} must not read the environment variable {name}: a config is saved and sent to loggers. "
        "A package that needs a secret reads it itself; any other value is a key of the config."
    )
