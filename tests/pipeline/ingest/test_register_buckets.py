"""Images below a prefix in a bucket are read where they are, tables beside them too."""

from pathlib import Path

import numpy as np
import pytest

from plankseg.errors import SettingsError
from plankseg.imaging.reading import read_grey
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.storage.store import Store
from tests.support.archive_packing import jpeg
from tests.support.s3_servers import S3Server

pytestmark = pytest.mark.slow


def test_a_prefix_is_ingested_where_it_is_and_again_adds_only_what_is_new(s3_server: S3Server, tmp_path: Path) -> None:
    bucket, client = s3_server.new_bucket(), s3_server.client()
    files = {"ZooScanNet/imgs/Egg/1.jpg": jpeg(1), "ZooScanNet/imgs/Egg/2.jpg": jpeg(2), "else/3.jpg": jpeg(3)}
    files |= {"ZooScanNet/features.csv": b"objid,area\n1,250\n", "ZooScanNet/more.tar": b"an archive"}
    for key, data in files.items():
        client.put_object(Bucket=bucket, Key=key, Body=data)
    store = Store.open(tmp_path / "store")
    report = ingest_folder(store, f"s3://{bucket}/ZooScanNet", role="pool")
    assert (report.added, report.layout) == (2, "class_folders")
    assert ["bring it to a disk" in problem.reason for problem in report.rejected] == [True]
    rows = {row.external_id: row for row in store.catalogue.rows(store.catalogue.ids("pool"))}
    assert (rows["1"].taxon, rows["1"].instrument_area_px, rows["1"].dataset) == ("Egg", 250.0, "ZooScanNet")
    np.testing.assert_array_equal(store.catalogue.load(rows["1"].image_id), read_grey(jpeg(1)))
    client.put_object(Bucket=bucket, Key="ZooScanNet/imgs/Egg/4.jpg", Body=jpeg(4))
    again = ingest_folder(store, f"s3://{bucket}/ZooScanNet", role="pool")
    assert (again.added, again.known) == (1, 2)
    with pytest.raises(SettingsError, match="no image files"):
        ingest_folder(store, f"s3://{bucket}/nowhere", role="pool")
