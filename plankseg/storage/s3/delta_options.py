"""Server and credentials of boto3 as options for deltalake, whose S3 client is its own."""

from botocore import exceptions as boto

from plankseg.errors import StoreRefusedError
from plankseg.storage.s3.client import connection
from plankseg.storage.s3.errors import translated


def storage_options() -> dict[str, str]:
    """Options for deltalake, drawn up anew for each opening, for credentials of a role change every hour.

    Raises StoreRefusedError where boto3 finds no credentials.
    """
    at = connection()
    try:
        found = at.session.get_credentials()
        keys = found.get_frozen_credentials() if found else None
    except boto.BotoCoreError as error:
        raise translated(error, what="open", where="the tables", server=at.server) from error
    if keys is None or not keys.access_key or not keys.secret_key:
        raise StoreRefusedError(
            "Cannot open the tables: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        )
    options = {
        "AWS_ENDPOINT_URL": at.server,
        "AWS_REGION": str(at.client.meta.region_name),
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_ALLOW_HTTP": str(at.server.startswith("http://")).lower(),
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
        "aws_conditional_put": "etag",
        "max_retries": "5",
        "retry_timeout": "20s",
        "timeout": "60s",
        "connect_timeout": "5s",
    }
    return options | ({"AWS_SESSION_TOKEN": keys.token} if keys.token else {})
