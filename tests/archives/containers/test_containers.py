"""Every file of a folder, tar or zip is read, or has a fault that says why not."""

import io
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from plankseg.archives.containers import entries
from plankseg.archives.containers.entries import Container, Entry
from plankseg.archives.containers.folder import Folder
from plankseg.archives.containers.tarball import Tar
from plankseg.archives.containers.zipped import Zip
from plankseg.errors import ArchiveError, ObjectCorruptError, ObjectMissingError
from plankseg.storage.objects.archive_members import Member
from tests.support.archive_packing import KINDS, jpeg, pack, tar_of

FILES = {"imgs/Calanoida/1.jpg": jpeg(1), "imgs/Ça & là/2#3.jpg": jpeg(2), "taxa.csv": b"a,b\n" * 400}


def opened(kind: str, path: Path) -> Container:
    return Folder(path) if kind == "folder" else Zip(path) if kind == "zip" else Tar(path)


def found(container: Container) -> dict[str, Entry]:
    return {entry.name: entry.in_memory() if container.in_order_only else entry for entry in container.entries()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_of_a_container_is_read_as_it_was_packed(tmp_path: Path, kind: str) -> None:
    container = opened(kind, pack(kind, tmp_path / "a", FILES))
    assert {name: entry.read() for name, entry in found(container).items()} == FILES
    assert container.name == "a"


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_members_address_leads_to_its_bytes_without_the_container(tmp_path: Path, kind: str) -> None:
    path = pack(kind, tmp_path / "with space # and %", FILES)
    for name, entry in found(opened(kind, path)).items():
        member = Member.parse(str(entry.uri))
        assert (member.read(), member.name, member.archive, member.is_lost()) == (FILES[name], name, path, False)
        assert Member.parse(member.uri) == member


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_that_was_changed_or_is_gone_is_told_at_its_members(tmp_path: Path, kind: str) -> None:
    path = pack(kind, tmp_path / "a", FILES)
    members = [Member.parse(str(entry.uri)) for entry in found(opened(kind, path)).values()]
    path.write_bytes(path.read_bytes()[:900])
    assert members[-1].is_lost()
    with pytest.raises(ObjectCorruptError, match="changed or cut off"):
        members[-1].read()
    path.unlink()
    assert members[0].is_lost()
    with pytest.raises(ObjectMissingError, match="run ingest where it lies now"):
        members[0].read()


def tar_with(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size) if member.isreg() else None)
    return path


def member(name: str, *, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 1) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, target, size if kind == tarfile.REGTYPE else 0
    return made


def test_members_that_climb_or_are_links_have_a_fault_and_are_not_read(tmp_path: Path) -> None:
    path = tar_with(
        tmp_path / "a.tar",
        member("../../etc/1.jpg"),
        member("/etc/2.jpg"),
        member("imgs/..\\3.jpg"),
        member("4.jpg", kind=tarfile.SYMTYPE, target="/etc/passwd"),
        member("5.jpg", kind=tarfile.LNKTYPE, target="good.jpg"),
        member("6.jpg", kind=tarfile.FIFOTYPE),
        member("C:\\7.jpg"),
        member("./good.jpg"),
        member("folder", kind=tarfile.DIRTYPE),
    )
    faults = {entry.name: entry.fault for entry in Tar(path).entries()}
    assert [name for name, fault in faults.items() if fault is None] == ["good.jpg"]
    assert ["leads out" in str(faults[name]) for name in ("../../etc/1.jpg", "imgs/..\\3.jpg")] == [True, True]
    assert ["root" in str(faults[name]) for name in ("/etc/2.jpg", "C:\\7.jpg")] == [True, True]
    assert all("a link" in str(faults[f"{number}.jpg"]) for number in (4, 5, 6))
    with pytest.raises(ArchiveError, match="leads out"):
        next(iter(Tar(path).entries())).read()


def test_a_zip_with_members_that_climb_are_links_or_encrypted_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../1.jpg", b"x")
        link = zipfile.ZipInfo("2.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("3.jpg", b"x", zipfile.ZIP_BZIP2)
        archive.writestr("4.jpg", b"x")
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1  # the last entry of the table of contents says: encrypted
    path.write_bytes(data)
    faults = [str(entry.fault) for entry in Zip(path).entries()]
    parts = ("leads out", "link", "method 12", "encrypted")
    assert [part in fault for part, fault in zip(parts, faults, strict=True)] == [True] * 4


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_what_announces_more_than_an_image_may_have_is_not_read(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(kind, tmp_path / "bomb", {"bomb.jpg": b"\0" * 3_000_000, "1.jpg": jpeg(1)})
    monkeypatch.setattr(entries, "MAX_BYTES", 1_000_000)
    bomb, good = found(opened(kind, path)).values()
    with pytest.raises(ArchiveError, match="announces 3000000 bytes, more than the 1000000"):
        bomb.read()
    assert good.read() == jpeg(1)


def test_a_zip_that_announces_less_than_it_unpacks_to_is_stopped_at_what_it_announced(tmp_path: Path) -> None:
    path = pack("zip", tmp_path / "bomb", {"bomb.jpg": b"\0" * 3_000_000})
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.rindex(b"PK\x01\x02") + 24, 1000)
    path.write_bytes(data)
    (entry,) = Zip(path).entries()
    with pytest.raises(ObjectCorruptError):
        entry.read()


def test_a_zip_whose_member_was_damaged_is_found_out_by_its_checksum(tmp_path: Path) -> None:
    path = pack("zip", tmp_path / "a", {"a.txt": b"x", "1.jpg": jpeg(1)})  # the second is stored as it is
    data = path.read_bytes()
    path.write_bytes(data.replace(jpeg(1)[100:110], b"0123456789"))
    (_, entry) = Zip(path).entries()
    with pytest.raises(ArchiveError, match="checksum"):
        entry.read()


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz"])
@pytest.mark.parametrize("cut_after", ["in data", "in header", "between members", "before the end mark"])
def test_a_tar_that_is_cut_off_gives_what_is_whole_and_then_says_so(tmp_path: Path, kind: str, cut_after: str) -> None:
    from tests.support.archive_packing import COMPRESS

    files = {f"{number}.jpg": jpeg(number) for number in range(3)}
    whole, two = tar_of(files), tar_of(dict(list(files.items())[:2]))
    end_of_two = two.rstrip(b"\0")
    boundary = -(-len(end_of_two) // 512) * 512
    whole_end = -(-len(whole.rstrip(b"\0")) // 512) * 512
    cut = {
        "in data": boundary + 700,
        "in header": boundary + 100,
        "between members": boundary,
        "before the end mark": whole_end,
    }
    path = tmp_path / f"a.{kind}"
    path.write_bytes(COMPRESS[kind](whole[: cut[cut_after]]))
    names, container = [], Tar(path)
    with pytest.raises(ArchiveError, match=r"cut off|damaged"):  # noqa: PT012  the names before it are looked at
        for entry in container.entries():
            assert (entry.in_memory() if container.in_order_only else entry).read() == files[entry.name]
            names.append(entry.name)
    assert names == list(files)[: 3 if cut_after == "before the end mark" else 2]


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz"])
def test_a_compressed_stream_that_is_cut_off_gives_what_is_whole(tmp_path: Path, kind: str) -> None:
    files = {f"{number}.jpg": jpeg(number, (200, 200)) for number in range(20)}
    path = pack(kind, tmp_path / "a", files)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    read: list[str] = []
    with pytest.raises(ArchiveError, match="cut off"):
        read.extend(entry.name for entry in Tar(path).entries() if entry.in_memory().read() == files[entry.name])
    assert 5 <= len(read) < 20


def test_a_zip_that_is_cut_off_is_refused_whole(tmp_path: Path) -> None:
    path = pack("zip", tmp_path / "a", FILES)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ArchiveError, match="table of contents is at its end"):
        Zip(path)


def test_a_folder_is_walked_by_name_with_links_to_files_and_without_what_cannot_be_named(tmp_path: Path) -> None:
    folder = pack("folder", tmp_path / "a", {"b/2.jpg": jpeg(2), "b/1.jpg": jpeg(1), "a/3.jpg": jpeg(3)})
    (folder / "b" / "0.jpg").symlink_to(folder / "a" / "3.jpg")
    (folder / "b" / "gone.jpg").symlink_to(folder / "nowhere")
    Path(os.fsdecode(os.fsencode(folder) + b"/b/\xe9.jpg")).write_bytes(b"x")
    walked = list(Folder(folder).entries())
    assert [entry.name for entry in walked if entry.fault is None] == ["a/3.jpg", "b/0.jpg", "b/1.jpg", "b/2.jpg"]
    assert ["not there" in str(entry.fault) for entry in walked if entry.fault] == [True, False]
    assert ["UTF-8" in str(entry.fault) for entry in walked if entry.fault] == [False, True]


def test_hidden_files_are_no_images() -> None:
    names = ["._1.jpg", "__MACOSX/1.jpg", ".thumbs/1.jpg", "a/1.JPG"]
    assert [Entry(name=name, size=1, open=io.BytesIO).is_image for name in names] == [False, False, False, True]
