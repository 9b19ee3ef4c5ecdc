"""Archives that are damaged or made to deceive: bounds hold, a file's fault costs the file, nothing is left unsaid."""

import gzip
import io
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from plankseg.archives.containers import decompression, tar_headers
from plankseg.archives.containers.entries import Entry
from plankseg.archives.containers.folder import Folder
from plankseg.archives.containers.tarball import Tar
from plankseg.archives.containers.zipped import Zip
from plankseg.errors import ArchiveError
from tests.support.archive_packing import jpeg, pack, tar_of
from tests.support.process_peak import peak_of

GOOD = {"A/1.jpg": jpeg(1), "A/2.jpg": jpeg(2)}


def header(name: str, size: int, kind: bytes, content: bytes = b"") -> bytes:
    """A header of any kind with its content, as `tarfile` would not write it."""
    made = tarfile.TarInfo(name)
    made.size, made.type = size, kind
    return made.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def faults(entries: list[Entry]) -> dict[str, str]:
    return {entry.name: entry.fault for entry in entries if entry.fault is not None}


# --- tars -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE])
def test_a_header_of_many_megabytes_costs_its_member_and_is_not_read(tmp_path: Path, kind: bytes) -> None:
    long = 40 * 2**20
    body = header("long", long, kind, bytes(long)) + tar_of({"hidden.jpg": jpeg(3)}).rstrip(b"\0")
    body += bytes(-len(body) % 512)
    for path in (
        written(tmp_path / "a.tar", body + tar_of(GOOD)),
        written(tmp_path / "a.tar.gz", gzip.compress(body + tar_of(GOOD), 1)),
    ):
        entries = [entry.in_memory() for entry in Tar(path).entries()]
        assert [entry.name for entry in entries if entry.fault is None] == list(GOOD)
        assert "41943040 bytes" in faults(entries)["hidden.jpg"]


def test_a_header_of_many_megabytes_takes_no_memory(tmp_path: Path) -> None:
    long = 200 * 2**20
    body = header("long", long, tarfile.XHDTYPE, bytes(long)) + tar_of(GOOD)
    path = written(tmp_path / "a.tar.gz", gzip.compress(body, 1))
    del body
    code = f"""
from pathlib import Path
from plankseg.archives.containers.tarball import Tar
print(sum(entry.fault is None for entry in Tar(Path({str(path)!r})).entries()))
"""
    baseline, _ = peak_of("from plankseg.archives.containers.tarball import Tar")
    peak, output = peak_of(code)
    assert output == "1"  # the first one has the long header
    assert peak - baseline < 30e6


def test_global_headers_do_not_pile_up_and_a_chain_of_headers_is_damage(tmp_path: Path) -> None:
    comment = b"30 comment=made by git-archive\n"
    many = header("pax_global", len(comment), tarfile.XGLTYPE, comment) * 3
    entries = list(Tar(written(tmp_path / "a.tar", many + tar_of(GOOD))).entries())
    assert [entry.name for entry in entries if entry.fault is None] == list(GOOD)
    chain = header("x", 0, tarfile.XHDTYPE) * 5000
    with pytest.raises(ArchiveError, match="damaged"):
        list(Tar(written(tmp_path / "b.tar", tar_of({"1.jpg": jpeg(1)})[:-10240] + chain + tar_of(GOOD))).entries())


@pytest.mark.parametrize(
    "records",
    [
        b"2 2 2 2 2 2 2 2=",
        b"999999 path=x\n",
        b"x path=y\n",
        b"9" * 5000 + b" path=x\n",
        b"11 size=-9\n",
        b"9 size=x\n",
    ],
)
def test_an_extended_header_that_is_none_costs_its_member_and_no_endless_work(tmp_path: Path, records: bytes) -> None:
    body = header("x", len(records), tarfile.XHDTYPE, records) + tar_of(GOOD)
    entries = list(Tar(written(tmp_path / "a.tar", body)).entries())
    assert "extended header cannot be read" in faults(entries)["A/1.jpg"]
    assert [entry.read() for entry in entries if entry.fault is None] == [jpeg(2)]


def test_a_size_below_zero_and_a_sparse_map_without_end_are_damage_or_a_fault(tmp_path: Path) -> None:
    made = bytearray(header("1.jpg", 0, tarfile.REGTYPE))
    made[124:136] = b"\xff" * 11 + b"\xfe"  # -2 in base 256
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made)
    with pytest.raises(ArchiveError, match=r"damaged|cut off"):
        list(Tar(written(tmp_path / "a.tar", tar_of(GOOD)[:-10240].rstrip(b"\0") + bytes(400) + bytes(made))).entries())
    sparse = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n32 GNU.sparse.name=A/sparse.jpg\n"
    body = header("x", len(sparse), tarfile.XHDTYPE, sparse) + header("s", 3000, tarfile.REGTYPE, b"9" * 3000)
    entries = list(Tar(written(tmp_path / "b.tar", body + tar_of(GOOD))).entries())
    assert "sparse" in faults(entries)["A/sparse.jpg"]
    assert [entry.name for entry in entries if entry.fault is None] == list(GOOD)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz"])
def test_tars_behind_each_other_are_all_read(tmp_path: Path, kind: str) -> None:
    pack_one = {"tar": bytes, "tar.gz": gzip.compress, "tar.xz": lzma.compress}[kind]
    parts = [pack_one(tar_of({f"A/{n}.jpg": jpeg(n)})) for n in range(3)]
    entries = [entry.in_memory() for entry in Tar(written(tmp_path / f"a.{kind}", b"".join(parts))).entries()]
    assert {entry.name: entry.read() for entry in entries} == {f"A/{n}.jpg": jpeg(n) for n in range(3)}


def test_what_follows_the_end_mark_and_is_no_tar_is_told_and_endless_zeros_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    with pytest.raises(ArchiveError, match=r"after A/2\.jpg"):
        read.extend(entry.name for entry in Tar(written(tmp_path / "a.tar", tar_of(GOOD) + b"no tar" * 200)).entries())
    assert read == list(GOOD)
    monkeypatch.setattr(tar_headers, "MAX_PADDING", 100_000)
    with pytest.raises(ArchiveError, match="zeros behind the end mark"):
        list(Tar(written(tmp_path / "b.tar", tar_of(GOOD) + bytes(300_000))).entries())


def test_a_compressed_tar_that_expands_without_measure_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompression, "ALWAYS_ALLOWED", 2**20)
    files = {f"{n}.jpg": jpeg(n) + bytes(2**20) for n in range(40)}
    for kind in ("tar.gz", "tar.xz"):
        read: list[str] = []
        with pytest.raises(ArchiveError, match="as no archive of images does"):
            read.extend(entry.in_memory().name for entry in Tar(pack(kind, tmp_path / "a", files)).entries())
        assert len(read) < 40


def test_an_xz_that_asks_for_a_gigabyte_of_memory_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 2**30}]
    data = bytearray(lzma.compress(tar_of(GOOD), filters=filters))
    with pytest.raises(ArchiveError, match=r"[Mm]emory"):
        list(Tar(written(tmp_path / "a.tar.xz", bytes(data))).entries())


def test_backslashes_in_a_tar_or_a_zip_are_folders(tmp_path: Path) -> None:
    files = {"imgs\\Copepoda\\1.jpg": jpeg(1), "imgs\\Egg\\2.jpg": jpeg(2)}
    for container in (Tar(pack("tar", tmp_path / "a", files)), Zip(pack("zip", tmp_path / "a", files))):
        entries = list(container.entries())
        assert [entry.name for entry in entries] == ["imgs/Copepoda/1.jpg", "imgs/Egg/2.jpg"]
        assert [entry.read() for entry in entries] == list(files.values())


# --- zips -----------------------------------------------------------------------------------------------------------
def test_folders_of_a_zip_from_windows_are_no_files(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("imgs\\", b"")
        archive.writestr("imgs\\1.jpg", jpeg(1))
    assert [entry.name for entry in Zip(path).entries()] == ["imgs/1.jpg"]


def zip_of_one_for_many(path: Path, names: list[str]) -> Path:
    """A zip whose table of contents names one stretch of bytes many times, as a zip bomb does."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(names[0], bytes(10_000))
    data = path.read_bytes()
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry = data[start:end]
    contents = b"".join(entry.replace(names[0].encode(), name.encode()) for name in names)
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, len(names), len(names), len(contents), start, 0)
    return written(path, data[:start] + contents + tail)


def test_members_that_share_their_bytes_are_refused_but_the_first(tmp_path: Path) -> None:
    entries = list(Zip(zip_of_one_for_many(tmp_path / "a.zip", ["1.jpg", "2.jpg", "3.jpg"])).entries())
    assert len(entries) == 3
    assert sorted("within another member" in fault for fault in faults(entries).values()) == [True, True]


def test_a_name_longer_than_any_path_is_a_fault(tmp_path: Path) -> None:
    long = "d/" * 3000 + "1.jpg"
    for container in (Zip(pack("zip", tmp_path / "a", {long: b"x"})), Tar(pack("tar", tmp_path / "a", {long: b"x"}))):
        assert "characters" in str(next(iter(container.entries())).fault)


@pytest.mark.parametrize("cut", [10, 300])
def test_a_damaged_deflated_member_costs_itself(tmp_path: Path, cut: int) -> None:
    path = pack("zip", tmp_path / "a", {"1.txt": b"word " * 5000, "2.jpg": jpeg(2)})
    data = bytearray(path.read_bytes())
    assert zlib.crc32(b"word " * 5000)
    at = 30 + len("1.txt") + cut % 40
    data[at : at + 8] = b"\xff" * 8
    path.write_bytes(data)
    broken, good = Zip(path).entries()
    with pytest.raises((ArchiveError, OSError)):
        broken.read()
    assert good.read() == jpeg(2)


def test_a_zip_with_a_name_in_another_encoding_than_it_says_is_refused_and_says_so(tmp_path: Path) -> None:
    path = pack("zip", tmp_path / "a", {"été.jpg": jpeg(1)})
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xfe"))
    with pytest.raises(ArchiveError, match="not in the encoding that the zip says"):
        Zip(path)


# --- folders --------------------------------------------------------------------------------------------------------
def test_links_to_folders_dangling_links_pipes_and_stores_are_named(tmp_path: Path) -> None:
    elsewhere = pack("folder", tmp_path / "elsewhere", GOOD)
    folder = pack("folder", tmp_path / "a", {"B/3.jpg": jpeg(3)})
    (folder / "Linked class").symlink_to(elsewhere / "A")
    (folder / "B" / "loop").symlink_to(folder)
    (folder / "B" / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "B" / "folder.jpg").symlink_to(elsewhere)
    os.mkfifo(folder / "B" / "pipe.png")
    (folder / "store" / "tables" / "images" / "_delta_log").mkdir(parents=True)
    (folder / "store" / "objects" / "aa").mkdir(parents=True)
    (folder / "store" / "objects" / "aa" / "mask.png").write_bytes(jpeg(4))
    entries = list(Folder(folder).entries())
    assert [entry.name for entry in entries if entry.fault is None] == ["B/3.jpg"]
    reasons = faults(entries)
    assert sorted(reasons) == ["B/folder.jpg", "B/gone.jpg", "B/loop", "B/pipe.png", "Linked class", "store"]
    assert "ingest that folder itself" in reasons["Linked class"]
    assert "nowhere.jpg, which is not there" in reasons["B/gone.jpg"]
    assert "a pipe" in reasons["B/pipe.png"]
    assert "a store of plankseg" in reasons["store"]


def test_a_stream_is_read_forward_only(tmp_path: Path) -> None:
    path = written(tmp_path / "a.gz", gzip.compress(b"0123456789" * 100_000))
    make = decompression.decompressor_for(path.read_bytes()[:6])
    assert make is not None
    with decompression.open_compressed(path, make) as stream:
        stream.seek(900_001)
        assert stream.read(4) == b"1234"
        with pytest.raises(OSError, match="forward only"):
            stream.seek(0)
    assert decompression.decompressor_for(b"plain") is None
    assert io.BytesIO(gzip.decompress(path.read_bytes())).read(3) == b"012"
