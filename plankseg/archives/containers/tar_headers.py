"""Headers of a tar with bounds: no name, extended header or sparse map is read without a limit."""

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, cast

MAX_HEADER_BYTES = 2**20  # of a long name or an extended header; a path has 4,096
MAX_PADDING = 64 * 2**20  # zeros after an end mark, until what follows is no longer looked for
_EXTENDED = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


class Header(tarfile.TarInfo):
    """A member's header. `fault` says why its name cannot be relied on."""

    fault: str | None = None

    @classmethod
    def of_block(cls, block: bytes, tar: tarfile.TarFile) -> "Header":
        """The header that begins with a block that was read already."""
        header = cls.frombuf(block, tar.encoding or "utf-8", tar.errors)
        header.offset = _stream(tar).tell() - tarfile.BLOCKSIZE
        return header._proc_member(tar)

    def _proc_member(self, tar: tarfile.TarFile) -> "Header":
        """Read what belongs to the header. tarfile calls this for each block that begins one."""
        if self.size < 0:
            raise tarfile.HeaderError(f"a size of {self.size} bytes")
        is_too_long = self.type in _EXTENDED and self.size > MAX_HEADER_BYTES
        if self.type == tarfile.XGLTYPE or is_too_long:  # of a global header nothing is needed
            return self._skip(tar, is_too_long=is_too_long)
        member: Header = super()._proc_member(tar)  # type: ignore[misc]
        return member

    def _skip(self, tar: tarfile.TarFile, *, is_too_long: bool) -> "Header":
        """The member after an extended header whose content is not read."""
        _stream(tar).seek(_stream(tar).tell() + _padded(self.size))
        member = self._following(tar)
        if is_too_long:
            member.fault = (
                f"its name or extended header has {self.size} bytes, more than the {MAX_HEADER_BYTES} that are read; "
                "pack it again"
            )
        return member

    def _proc_pax(self, tar: tarfile.TarFile) -> "Header":
        """The member after an extended header, with the name and size that this gives it."""
        data = _stream(tar).read(_padded(self.size))[: self.size]
        member = self._following(tar)
        try:
            records = _pax_records(data)
            size = _number(records.get(b"size", b"0"))
        except tarfile.HeaderError as error:
            member.fault = f"its extended header cannot be read ({error}); pack it again"
            return member
        if any(key.startswith(b"GNU.sparse.") for key in records):
            member.sparse = b""
        name = records.get(b"GNU.sparse.name", records.get(b"path"))
        if name is not None:
            member.name = name.decode("utf-8", "surrogateescape").rstrip("/")
        if b"size" in records:
            member.size = size
            takes_room = member.isreg() or member.type not in tarfile.SUPPORTED_TYPES
            tar.offset = member.offset_data + (_padded(member.size) if takes_room else 0)
        return member

    def _following(self, tar: tarfile.TarFile) -> "Header":
        """The header that this one says something about."""
        try:
            member = Header.fromtarfile(tar)
        except tarfile.HeaderError as error:  # also an end mark, which must not be taken for the tar's end here
            raise tarfile.SubsequentHeaderError(str(error)) from error  # type: ignore[attr-defined]
        member.offset = self.offset
        return member

    def _proc_sparse(self, tar: tarfile.TarFile) -> "Header":
        """Skip a sparse member's map: it may be of any length, and the member is not taken anyway."""
        _, is_extended, _ = self._sparse_structs  # type: ignore[attr-defined]
        while is_extended:
            block = _stream(tar).read(tarfile.BLOCKSIZE)
            if len(block) < tarfile.BLOCKSIZE:
                raise tarfile.HeaderError("a sparse map that is not whole")
            is_extended = bool(block[504])
        self.sparse = b""
        self.offset_data = _stream(tar).tell()
        tar.offset = self.offset_data + _padded(self.size)
        return self


def read_headers(stream: BinaryIO) -> Iterator[Header]:
    """The headers, one by one, also those of tars that were written one behind the other.

    Raises tarfile.HeaderError where there is none and the end is not marked either.
    """
    with tarfile.TarFile(fileobj=stream, mode="r", tarinfo=Header) as tar:
        member = tar.next()
        if member is None:
            member = _after_end_mark(tar)
        while member is not None:
            assert isinstance(member, Header)
            yield member
            next_offset: int = tar.offset
            if next_offset <= member.offset:
                raise tarfile.HeaderError(f"the header at byte {member.offset} points back to {next_offset}")
            stream.seek(next_offset)
            try:
                member = Header.fromtarfile(tar)
            except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # a block of zeros: the marked end
                member = _after_end_mark(tar)


def _after_end_mark(tar: tarfile.TarFile) -> Header | None:
    """The first header of another tar behind the end mark, or None."""
    for _ in range(MAX_PADDING // tarfile.BLOCKSIZE):
        block = _stream(tar).read(tarfile.BLOCKSIZE)
        if block.strip(b"\0"):
            return Header.of_block(block, tar)
        if len(block) < tarfile.BLOCKSIZE:
            return None
    raise tarfile.HeaderError(f"more than {MAX_PADDING} bytes of zeros behind the end mark")


def _pax_records(data: bytes) -> dict[bytes, bytes]:
    """The records `length key=value` of an extended header. Raises tarfile.HeaderError where it is none."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(data) and data[position] != 0:
        digits, space, _ = data[position : position + 9].partition(b" ")
        end = position + _number(digits)
        key, equals, value = data[position + len(digits) + 1 : end - 1].partition(b"=")
        if not (space and equals and data[end - 1 : end] == b"\n"):
            raise tarfile.HeaderError("an extended header that cannot be read")
        records[key] = value
        position = end
    return records


def _number(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 15:
        raise tarfile.HeaderError(f"{digits[:20]!r} where a number belongs")
    return int(digits)


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _stream(tar: tarfile.TarFile) -> BinaryIO:
    assert tar.fileobj is not None
    return cast(BinaryIO, tar.fileobj)
