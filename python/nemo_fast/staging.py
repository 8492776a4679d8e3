"""Files and folders that appear whole or not at all.

Work is done under a hidden name beside the target, on the same file system, and renamed when it is complete
and on the disk. An error or Ctrl-C removes what was begun. What ends the process at once (SIGTERM, a system
out of memory, a power cut) can leave the hidden name, and nothing else.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder that becomes `target` when the block ends well. Errors: `FileExistsError`.

    >>> with tempfile.TemporaryDirectory() as place:
    ...     with staged_folder(Path(place, "model")) as folder:
    ...         _ = Path(folder, "config.json").write_text("{}")
    ...     [path.name for path in Path(place, "model").iterdir()]
    ['config.json']
    """
    refuse_existing(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o777 & ~_umask())  # mkdtemp's folder is the user's alone
        for path in folder.iterdir():
            _sync(path)
        _sync(folder)
        # Another process may have made the target meanwhile; an empty folder would be replaced silently.
        refuse_existing(target)
        folder.rename(target)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            # Of a write that failed, as on a full disk, the system tells no name.
            error.filename = str(target)
        raise
    _sync(target.parent)


@contextmanager
def staged_file(target: Path) -> Iterator[IO[bytes]]:
    """Give a file open for writing that becomes `target` when the block ends well."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def refuse_existing(target: Path) -> None:
    """Raise `FileExistsError` if there is anything of this name."""
    if target.exists() or target.is_symlink():
        raise FileExistsError(errno.EEXIST, "it exists already", str(target))


def _umask() -> int:
    # The system tells the mask only in exchange for a new one.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    if os.name == "nt":
        return  # a folder cannot be opened there, and a file not for reading alone
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
