"""Files of exports: plain, or compressed as their names say, and replaced only as a whole."""

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from jetkv.errors import InvalidArgumentError
from jetkv.transfer.format import MAX_LINE, End, Header
from jetkv.transfer.problems import FileDamagedError

__all__ = ["Checked", "check", "lines_of", "new_file", "sync_folder"]

_GZIP_LEVEL = 3
_ZSTD_MODULES = ("compression.zstd", "backports.zstd", "zstandard")


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that is whole."""

    header: Header
    end: End


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Make a file that is there only when it is whole, and then survives a power cut.

    Raises:
        OSError: it cannot be written.
        InvalidArgumentError: its name asks for a compression that is not installed.
    """
    pack = _compression(path)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as raw:
            with _packing(raw, pack) as file:
                yield file
            raw.flush()
            os.fsync(raw.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    sync_folder(path)


def sync_folder(path: Path) -> None:
    """Make the name of a file survive a power cut."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _packing(raw: BinaryIO, pack: Any) -> Iterator[IO[bytes]]:
    if pack is None:
        yield raw
        return
    if pack is gzip:
        # Without a name and a time, so that the same keys give the same file.
        opened: Any = gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0)
    elif hasattr(pack, "ZstdFile"):
        opened = pack.ZstdFile(raw, "wb")
    else:
        opened = pack.ZstdCompressor().stream_writer(raw, closefd=False)
    with opened:
        yield opened


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, unpacked.

    Raises:
        FileDamagedError: it cannot be unpacked.
        OSError: it cannot be read.
    """
    pack = _compression(path)
    broken: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile)
    if pack not in (None, gzip):
        broken = (EOFError, pack.ZstdError)
    try:
        with path.open("rb") as raw, _unpacking(raw, pack) as file:
            while line := file.readline(MAX_LINE):
                if len(line) == MAX_LINE:
                    raise FileDamagedError("it is no export: a line of it is too long")
                yield line
    except broken as error:
        raise FileDamagedError(
            f"it cannot be unpacked: {error}", hint="export it again, or use another copy"
        ) from error


@contextmanager
def _unpacking(raw: BinaryIO, pack: Any) -> Iterator[IO[bytes]]:
    if pack is None:
        yield raw
    elif pack is gzip:
        with gzip.GzipFile(fileobj=raw) as file:
            yield cast(IO[bytes], file)
    elif hasattr(pack, "ZstdFile"):
        with pack.ZstdFile(raw) as file:
            yield file
    else:
        with pack.ZstdDecompressor().stream_reader(raw) as reader:
            yield io.BufferedReader(reader)


def _compression(path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip
    if path.suffix != ".zst":
        return None
    for name in _ZSTD_MODULES:
        try:
            return import_module(name)
        except ModuleNotFoundError:
            continue
    raise InvalidArgumentError(
        f"zstd is not installed, and the name {path.name} asks for it",
        hint='pip install "jetkv[zstd]", or use a name that ends in .gz',
    )


def check(path: Path) -> Checked:
    """Read a file and check that it is a whole export, as it was written.

    Raises:
        FileDamagedError: it is not.
        OSError: it cannot be read.
    """
    sha256, count = hashlib.sha256(), -1
    header: Header | None = None
    last = b""
    for line in lines_of(path):
        if header is None:
            header = Header.read(line)
        if last:
            sha256.update(last)
            count += 1
        last = line
    if header is None:
        raise FileDamagedError("it is empty")
    end = End.read(last)
    if (end.count, end.sha256) != (count, sha256.hexdigest()):
        raise FileDamagedError(
            "its lines do not fit its checksum: it was edited or damaged",
            hint="export it again, or use another copy",
        )
    return Checked(header, end)
