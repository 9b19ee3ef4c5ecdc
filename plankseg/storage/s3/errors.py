"""Translation of S3 errors, of boto3's and of deltalake's client, into our own, with what was wrong and the cure."""

import re
from collections.abc import Mapping

from botocore import exceptions as boto

from plankseg.errors import ObjectMissingError, StoreDownError, StoreError, StoreRefusedError

EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"})
UNKNOWN = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId"})
SKEWED = frozenset({"RequestTimeTooSkewed"})
DENIED = frozenset({"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "AccountProblem", "InvalidObjectState"})
NO_BUCKET = frozenset({"NoSuchBucket"})
NO_KEY = frozenset({"NoSuchKey", "404", "NotFound"})
UNDECIDED = frozenset({"ConditionalRequestConflict", "OperationAborted"})  # who asks again learns who won
BUSY = frozenset({"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "500", "502", "503", "504"})

NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.SSOError,
    boto.TokenRetrievalError,
)
NO_ANSWER = (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError)

CURES: Mapping[str, tuple[frozenset[str], type[StoreError], str]] = {
    "the credentials have expired": (EXPIRED, StoreRefusedError, "sign in again or renew them, then run it again"),
    "the credentials are not known there": (
        UNKNOWN,
        StoreRefusedError,
        "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or choose another AWS_PROFILE",
    ),
    "this machine's clock is more than a few minutes off": (SKEWED, StoreRefusedError, "set the clock by NTP"),
    "access is denied": (
        DENIED,
        StoreRefusedError,
        "let these credentials get, put, list and delete objects there, or use others",
    ),
    "there is no such bucket": (NO_BUCKET, StoreError, "make it, or correct the address and AWS_ENDPOINT_URL"),
    "there is no such object": (NO_KEY, ObjectMissingError, "restore it from a backup"),
    "the server is overloaded or broken": (BUSY, StoreDownError, "run it again later; what is written stays"),
}


def translated(error: Exception, *, what: str, where: str, server: str) -> StoreError:
    """Our own error for one of boto3's: `what` was done to `where` at `server`."""
    if isinstance(error, boto.ClientError):
        return _by_code(code_of(error), str(error), f"Cannot {what} {where} at {server}")
    seen = f"{type(error).__name__}: {error}"
    if isinstance(error, NO_CREDENTIALS):
        return StoreRefusedError(
            f"Cannot {what} {where}: no usable credentials ({seen}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or AWS_PROFILE, or give this machine a role."
        )
    if isinstance(error, NO_ANSWER):
        return StoreDownError(
            f"Cannot {what} {where}: {server} does not answer ({seen}); what is written stays. "
            "Start the server or correct AWS_ENDPOINT_URL, then run it again."
        )
    return StoreError(f"Cannot {what} {where} at {server}: {seen}; correct AWS_ENDPOINT_URL, region or profile.")


def code_of(error: boto.ClientError) -> str:
    """The server's word for what went wrong; the HTTP status where a HEAD has no body to say it in."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _by_code(code: str, seen: str, beginning: str) -> StoreError:
    for reason, (codes, kind, cure) in CURES.items():
        if code in codes:
            return kind(f"{beginning}: {reason} ({code}); {cure}.")
    return StoreError(f"{beginning}: {seen}; look into the server's log.")


def of_tables(text: str, *, beginning: str) -> StoreError | None:
    """Our own error for what the tables' Rust client says in words; None where S3 has no part in it."""
    code = re.search(r"<Code>(\w+)</Code>", text)
    if code:
        return _by_code(code[1], code[1], beginning)
    if "lacked the necessary privileges" in text:
        return _by_code("403", "403", beginning)
    status = re.search(r"\b(403|404|50[0234])\b [A-Z]", text)
    if status:
        return _by_code(status[1], status[1], beginning)
    if re.search(r"error sending request|timed out|[Cc]onnection (refused|reset)|error decoding response body", text):
        innermost = re.sub(r"\x1b\[\d+m|↳", "", text).strip().splitlines()[-1].strip()[:300]
        return StoreDownError(
            f"{beginning}: the server does not answer ({innermost}); nothing half-written is visible. "
            "Start it or correct AWS_ENDPOINT_URL, then run it again."
        )
    return None
