"""Label Studio shows images straight from a bucket, through itself or by signed addresses."""

import base64

import httpx
import pytest
from pydantic import SecretStr

from plankseg.errors import LabelStudioError
from plankseg.labelling.api.tasks import BucketAccess, PushItem
from plankseg.labelling.sync.push import push_round
from tests.support.labelling_project import Bench, item, png
from tests.support.live_servers import LiveLabelStudio
from tests.support.s3_servers import S3Server


def test_an_image_has_bytes_or_an_address() -> None:
    for neither_or_both in ({"png": None}, {"png": b"1", "url": "s3://bucket/a.png"}):
        with pytest.raises(LabelStudioError, match="either bytes to upload or an address"):
            PushItem(image_id="a", premask=None, model_id=None, score=None, **neither_or_both)  # type: ignore[arg-type]


@pytest.mark.live
@pytest.mark.parametrize("presign", [False, True])
def test_a_person_sees_the_image_of_the_bucket(
    label_studio: LiveLabelStudio, live: Bench, s3_server: S3Server, presign: bool
) -> None:
    bucket = s3_server.new_bucket()
    image = png((30, 40))
    s3_server.client().put_object(Bucket=bucket, Key="pool/Copepoda/one.png", Body=image)
    access = BucketAccess(bucket, s3_server.url, "us-east-1", s3_server.key, SecretStr(s3_server.secret), presign)
    for _ in range(2):  # told again, it is the same row
        live.ls.ensure_bucket(live.project, access)
    url = f"s3://{bucket}/pool/Copepoda/one.png"
    shown = PushItem(image_id="one", png=None, url=url, premask=None, model_id="m", score=0.5)
    report = push_round(live.ls, live.project, [shown, item("two")], round=1)
    assert sorted(report.tasks) == ["one", "two"]
    headers = {"Authorization": f"Token {label_studio.token}"}
    rows = httpx.get(f"{label_studio.url}/api/storages/s3?project={live.project}", headers=headers).json()
    assert [(row["bucket"], row["presign"]) for row in rows] == [(bucket, presign)]
    assert s3_server.secret not in str(rows)
    encoded = base64.urlsafe_b64encode(url.encode()).decode()
    resolve = f"{label_studio.url}/tasks/{report.tasks['one']}/resolve/?fileuri={encoded}"
    answer = httpx.get(resolve, headers=headers, follow_redirects=False)
    assert answer.status_code == (303 if presign else 200)
    if presign:
        assert answer.headers["location"].startswith(s3_server.url)
        answer = httpx.get(answer.headers["location"], trust_env=False)
    assert answer.content == image
