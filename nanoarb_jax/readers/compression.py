"""Files as they lie about: plain or compressed, recognised by their first bytes, never by their names."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from nanoarb_jax.errors import DataError
from nanoarb_jax.files import check_open_files, first_line
from nanoarb_jax.readers.archives import archive_of, open_member

if TYPE_CHECKING:
    from zstandard import ZstdDecompressionObj

_GZIP, _XZ, _BZIP2, _ZSTD = b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh", b"\x28\xb5\x2f\xfd"
_BLOCK = 1 << 18
# all that the decompressors raise on bytes that are damaged or that end too early
_DAMAGED = (OSError, EOFError, ValueError, RuntimeError, MemoryError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class _Guarded(io.RawIOBase):
    """A stream whose every failure is a DataError that names the file."""

    def __init__(self, inner: _Readable, what: str) -> None:
        self._inner, self._what = inner, what

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # typeshed: any writable buffer
        try:
            data = self._inner.read(len(buffer))
        except _DAMAGED as error:
            check_open_files(error)
            raise DataError(f"{self._what}: damaged or truncated ({first_line(error)}); fetch it again") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()


class _Zstd:
    """Zstandard frames, one after another; zstandard's own reader takes a truncated frame for a complete one."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._rest, self._blocks = file, b"", self._decompressed()

    def _decompressed(self) -> Iterator[bytes]:
        import zstandard

        frame: ZstdDecompressionObj | None = None
        while block := self._file.read(_BLOCK):
            while block:
                frame = frame or zstandard.ZstdDecompressor().decompressobj()
                try:
                    data = frame.decompress(block)
                except zstandard.ZstdError as error:
                    raise EOFError(str(error)) from error
                block, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
                if data:
                    yield data
        if frame is not None:
            raise EOFError("it ends within a frame")

    def read(self, size: int, /) -> bytes:
        if not self._rest:
            self._rest = next(self._blocks, b"")
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def close(self) -> None:
        self._blocks.close()  # type: ignore[attr-defined]  # a generator
        self._file.close()


def _decompressor(file: IO[bytes], what: str) -> _Readable:
    magic = file.read(6)
    file.seek(0)  # of a zip member, too
    if magic.startswith(_GZIP):
        return gzip.GzipFile(fileobj=file)
    if magic.startswith(_XZ):
        return lzma.LZMAFile(file)
    if magic.startswith(_BZIP2):
        return bz2.BZ2File(file)
    if magic.startswith(_ZSTD):
        try:
            import zstandard  # noqa: F401
        except ImportError as error:
            raise DataError(f"{what}: Zstandard needs the package zstandard; pip install zstandard") from error
        return _Zstd(file)
    return file


class _Owner:
    """The decompressor together with the file that it does not close."""

    def __init__(self, stream: _Readable, file: IO[bytes]) -> None:
        self.read, self._stream, self._file = stream.read, stream, file

    def close(self) -> None:
        self._stream.close()
        self._file.close()


def open_bytes(path: str | Path) -> io.BufferedReader:
    """Open a plain, gzip, xz, bzip2 or Zstandard file, or a member of a zip archive, to read its decompressed bytes.

    The compression is told by the first bytes, whatever the suffix; anything unknown is read as it is. Not seekable.

    Raises:
        DataError: the file is missing, unreadable or a damaged member; later, from any read: damaged or truncated
            compressed data.
    """
    path = Path(path)
    archive = archive_of(path)
    if archive is None and not path.is_file():
        raise DataError(f"{path}: no such file; check the path")
    try:
        file = path.open("rb") if archive is None else open_member(archive, path)
    except OSError as error:
        check_open_files(error)
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        stream = _Owner(_decompressor(file, str(path)), file)
    except BaseException as error:
        file.close()
        if isinstance(error, _DAMAGED) and not isinstance(error, DataError):  # of a zip member, by its first bytes
            check_open_files(error)
            raise DataError(f"{path}: damaged or truncated ({first_line(error)}); fetch it again") from error
        raise
    return io.BufferedReader(_Guarded(stream, str(path)), _BLOCK)
