"""Tables as programs and people write them: encodings, separators, commas, ranks, columns to leave alone."""

import gzip
import io

import pytest

from plankseg.archives.metadata_tables import Meaning, Row, Table, as_area, read_table
from plankseg.errors import ArchiveError

HEAD = "img_file_name\timg_rank\tobject_id\tobject_area\tobject_annotation_category\tobject_annotation_person_email"
TYPES = "[t]\t[f]\t[t]\t[f]\t[t]\t[t]"


def table(text: str | bytes, *, name: str = "t.tsv", wanted: dict[Meaning, str] | None = None) -> Table:
    data = text.encode() if isinstance(text, str) else text
    found = read_table(name, io.BytesIO(data), wanted=wanted)
    assert found is not None
    return found


def only(found: Table, key: str) -> Row:
    (row,) = found.rows(key)
    return row


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_an_ecotaxa_table_is_read_in_any_encoding_with_its_row_of_types_left_out(encoding: str) -> None:
    text = f'{HEAD}\r\n{TYPES}\r\n"é.jpg"\t0\to1\t"1333,5"\tCalanidé\tsomeone@example.org\r\n'
    found = table(text.encode(encoding))
    assert (len(found), found.is_ecotaxa) == (1, True)
    row = only(found, "é.jpg")
    assert (row.file, row.identity, row.taxon, row.area_px) == ("é.jpg", "o1", "Calanidé", 1333.5)
    assert "email" not in "".join(found.columns.values())
    assert b"example.org" not in bytes(found._texts)


def test_of_several_ranks_the_lowest_counts_whatever_the_order() -> None:
    rows = ["a_1.jpg\t1\ta\t9\tX\t", "a_0.jpg\t0\ta\t9\tX\t", "b_2.jpg\t2\tb\t9\tX\t", "b_3.jpg\t3\tb\t9\tX\t"]
    found = table("\n".join([HEAD, *rows]))
    lowest = [name for name in ("a_0.jpg", "a_1.jpg", "b_2.jpg", "b_3.jpg") if only(found, name).is_lowest_rank]
    assert lowest == ["a_0.jpg", "b_2.jpg"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_users_table_is_read_with_any_separator_and_plain_or_packed(delimiter: str) -> None:
    data = "\n".join(delimiter.join(row) for row in (("File", "class", "area"), ("sub/1.png", "Egg", "12"))).encode()
    for name, packed in (("t.csv", data), ("t.csv.gz", gzip.compress(data))):
        row = only(table(packed, name=name), "1.png")
        assert (row.file, row.taxon, row.area_px) == ("sub/1.png", "Egg", 12.0)


def test_a_table_of_objects_is_found_by_their_identity() -> None:
    found = table("objid,area,mean\n17,250,3\n18,,3\n")
    assert (found.names_files, only(found, "17").area_px, only(found, "18").area_px) == (False, 250.0, None)
    assert found.rows("19") == []


def test_columns_can_be_named_and_a_missing_one_is_an_error_that_says_what_there_is() -> None:
    text = "picture,what,area,surface\n1.png,Egg,5,70\n"
    row = only(table(text, wanted={"file": "picture", "taxon": "what", "area": "surface"}), "1.png")
    assert (row.taxon, row.area_px) == ("Egg", 70.0)
    assert only(table(text, wanted={"file": "picture", "area": ""}), "1.png").area_px is None
    with pytest.raises(ArchiveError, match=r"no column 'foto'; it has picture, what"):
        table(text, wanted={"file": "foto"})


def test_a_table_that_names_no_image_is_none() -> None:
    assert read_table("t.csv", io.BytesIO(b"station,depth\n1,2\n")) is None
    assert read_table("t.csv", io.BytesIO(b"")) is None


def test_short_rows_are_remembered_and_the_rest_is_read() -> None:
    found = table("file,area\n1.png,3\n2.png\n\n3.png,4\n")
    assert (len(found), found.unreadable) == (2, ["row 3 has 1 cells, the header 2"])


def test_a_cut_off_packed_table_or_an_endless_line_is_refused() -> None:
    packed = gzip.compress(b"file,area\n" + b"".join(b"%d.png,5\n" % n for n in range(5000)))
    with pytest.raises(ArchiveError, match=r"Table t\.csv\.gz cannot be read"):
        table(packed[: len(packed) // 2], name="t.csv.gz")
    with pytest.raises(ArchiveError, match="line of over"):
        table(b"file,area\n" + b"x" * (5 * 2**20))


@pytest.mark.parametrize(("text", "area"), [("1,5", 1.5), ("1e3", 1000.0), (" 7 ", 7.0)])
def test_areas_with_point_or_comma(text: str, area: float) -> None:
    assert as_area(text) == area


@pytest.mark.parametrize("text", ["", "nan", "0", "-3", "inf", "many"])
def test_what_is_no_area_is_unknown(text: str) -> None:
    assert as_area(text) != as_area(text)  # NaN
