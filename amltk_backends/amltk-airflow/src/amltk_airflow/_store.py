"""The store: a folder, or a bucket, that this program and Airflow's workers see under the same URL.

Of folders and files, whatever the umask is, nobody but their user can read them (modes 0700 and 0600). Who can read
a bucket is up to that.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import time
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from amltk.describe import describe_option
from amltk.exceptions import NotSupportedError

_PART = ".part"
_PAUSES = 0.0, 0.05, 0.2, 0.5, 1.0
_NEEDS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs"}


class Store:
    """A folder of it. Errors of the file system are `OSError`, as fsspec has them.

    Attributes:
        url: Where it is.
    """

    def __init__(self, url: str) -> None:
        """Open the folder; nothing is written yet.

        Raises:
            NotSupportedError: What the URL needs is not installed, or nobody knows its kind.
        """
        self.url = url.rstrip("/")
        shown = describe_option("store", url)
        try:
            # Others add to the store: what was seen before is no answer.
            self._fs, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            protocol = fsspec.utils.get_protocol(url)
            mend = f"pip install {_NEEDS[protocol]}" if protocol in _NEEDS else str(error)
            msg = f"The store {shown} needs what is not installed here: {mend}. Airflow's workers need it, too."
            raise NotSupportedError(msg) from error
        except ValueError as error:
            msg = f"There is no store of the kind of {shown}: {error}"
            raise NotSupportedError(msg) from error

    def within(self, name: str) -> Store:
        """Return the folder of that name in it."""
        return Store(f"{self.url}/{name}")

    def make(self) -> None:
        """Make the folder, and those above it.

        Raises:
            OSError: It can't be made; or it is there, and somebody else's.
        """
        if not isinstance(self._fs, LocalFileSystem):
            self._fs.makedirs(self._root, exist_ok=True)
            return
        folder = Path(self._root)
        for each in reversed([folder, *folder.parents]):
            if not each.is_dir():
                each.mkdir(0o700, exist_ok=True)
                each.chmod(0o700)
        folder.chmod(0o700)

    def write(self, name: str, data: bytes) -> None:
        """Write an object whole, or not at all; the folder has to be there."""
        part, path = self._path(name + _PART), self._path(name)
        if not isinstance(self._fs, LocalFileSystem):
            self._fs.pipe_file(part, data)
            self._fs.mv(part, path)
            return
        with contextlib.suppress(FileNotFoundError):  # what a process left that was killed meanwhile
            os.unlink(part)  # noqa: PTH108 - fsspec has paths as text
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - it is a descriptor
            os.fchmod(descriptor, 0o600)
            file.write(data)
        os.replace(part, path)  # noqa: PTH105 - likewise

    def read(self, name: str) -> bytes | None:
        """Return an object; None if it is not there."""
        try:
            data: bytes = self._fs.cat_file(self._path(name))
        except FileNotFoundError:
            return None
        return data

    def names(self) -> set[str]:
        """Return the names of all objects."""
        self._fs.invalidate_cache()
        try:
            found: list[Any] = self._fs.ls(self._root, detail=False)
        except FileNotFoundError:
            return set()
        return {posixpath.basename(path) for path in found if not path.endswith(_PART)}

    def remove(self, *names: str) -> None:
        """Remove objects, those that are there."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(self._path(name))

    def remove_all(self) -> None:
        """Remove the folder with all that is in it, also what a worker is writing just now."""
        for pause in _PAUSES:
            self._fs.invalidate_cache()
            try:
                self._fs.rm(self._root, recursive=True)
            except FileNotFoundError:  # it is not there, or something in it has gone meanwhile: the rest is still there
                pass
            except OSError:
                if pause == _PAUSES[-1]:
                    raise
            if not self._fs.exists(self._root):
                return
            time.sleep(pause)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"
