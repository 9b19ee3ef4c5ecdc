"""Only plain buckets and keys are asked for, whatever a server would take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankseg.errors import StoreError
from plankseg.storage.s3.addresses import Address, is_s3


@pytest.mark.parametrize(
    ("uri", "bucket", "key"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://my-bucket.of-2/deep/prefix/", "my-bucket.of-2", "deep/prefix"),
        ("S3://bucket/Čopépoda (1)/a b+c=1,2.png", "bucket", "Čopépoda (1)/a b+c=1,2.png"),
    ],
)
def test_an_address_names_a_bucket_and_a_key(uri: str, bucket: str, key: str) -> None:
    assert (Address.parse(uri).bucket, Address.parse(uri).key) == (bucket, key)


@pytest.mark.parametrize("uri", ["s3:/bucket/a", "/bucket/a", "https://bucket/a", "s3://", "s3:///a"])
def test_what_is_no_address_is_refused(uri: str) -> None:
    with pytest.raises(StoreError, match=r"no address in a bucket|no bucket's name"):
        Address.parse(uri)


@pytest.mark.parametrize("bucket", ["Bucket", "b", "-bucket", "bucket-", "bu/cket", "bucket\n", "b" * 64, "bu_cket"])
def test_a_bucket_with_an_impossible_name_is_refused(bucket: str) -> None:
    with pytest.raises(StoreError, match="no bucket's name"):
        Address(bucket)


@pytest.mark.parametrize(
    "key",
    ["../../etc", "a/../b", "a//b", "/a", ".hidden", "a/.b", "a\\b", "a\0b", "a\n", "a?b", "a%2e", "a/" * 300 + "a"],
)
def test_a_key_that_leads_elsewhere_is_refused(key: str) -> None:
    with pytest.raises(StoreError, match="is refused"):
        Address("bucket", key)
    with pytest.raises(StoreError, match="is refused"):
        Address("bucket") / key


@given(st.lists(st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9_. -]{0,20}", fullmatch=True), min_size=1, max_size=5))
def test_writing_and_parsing_an_address_is_the_identity(segments: list[str]) -> None:
    address = Address("bucket")
    for segment in segments:
        address = address / segment
    assert Address.parse(str(address)) == address
    assert is_s3(address)
