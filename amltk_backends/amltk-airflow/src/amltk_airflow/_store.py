"""The store: a folder, or a bucket, that this program and Airflow's workers see under the same URL.

In a folder, only its user can read files, whatever the umask is (modes 0700 and 0600). The owner of a bucket decides
who can read it.
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
    """A folder of the store. Errors of the file system are `OSError`, as in fsspec.

    Attributes:
        url: Its URL.
    """

    def __init__(self, url: str) -> None:
        """Open the folder; nothing is written yet.

        Raises:
            NotSupportedError: A library for the URL is not installed, or its kind is unknown.
        """
        self.url = url.rstrip("/")
        shown = describe_option("store", url)
        try:
            # Other programs add to the store, so listings must not be cached.
            self._fs, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            protocol = fsspec.utils.get_protocol(url)
            fix = f"pip install {_NEEDS[protocol]}" if protocol in _NEEDS else str(error)
            msg = f"The store {shown} needs a library that is missing here: {fix}. Airflow's workers need it, too."
            raise NotSupportedError(msg) from error
        except ValueError as error:
            msg = f"The kind of the store {shown} is unknown: {error}"
            raise NotSupportedError(msg) from error

    def within(self, name: str) -> Store:
        """Return its subfolder with this name."""
        return Store(f"{self.url}/{name}")

    def make(self) -> None:
        """Make the folder and its parents.

        Raises:
            OSError: It can't be made, or exists and belongs to another user.
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
        """Write an object completely or not at all; the folder must exist."""
        part, path = self._path(name + _PART), self._path(name)
        if not isinstance(self._fs, LocalFileSystem):
            self._fs.pipe_file(part, data)
            self._fs.mv(part, path)
            return
        with contextlib.suppress(FileNotFoundError):  # left by a process that was killed
            os.unlink(part)  # noqa: PTH108 - fsspec has paths as text
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            os.fchmod(descriptor, 0o600)
            file.write(data)
        os.replace(part, path)  # noqa: PTH105 - likewise

    def read(self, name: str) -> bytes | None:
        """Return an object; None if there is none."""
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
        """Remove the objects that exist."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(self._path(name))

    def remove_all(self) -> None:
        """Remove the folder and its content, also an object that a worker is writing at this moment."""
        for pause in _PAUSES:
            self._fs.invalidate_cache()
            try:
                self._fs.rm(self._root, recursive=True)
            except FileNotFoundError:  # the folder does not exist, or an object has gone meanwhile and others are left
                pass
            except OSError:
                if pause == _PAUSES[-1]:
                    raise
            if not self._fs.exists(self._root):
                return
            time.sleep(pause)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"
