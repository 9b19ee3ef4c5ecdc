#!/usr/bin/env bash
# Signatures, expiry and wrong credentials are tested on a real S3 server: install Debian's Ceph where it is missing and
# we may, and say so where we may not.
set -u
if command -v radosgw >/dev/null && command -v ceph-mon >/dev/null && command -v ceph-osd >/dev/null; then
    exit 0
fi
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "Installing Debian's Ceph (radosgw) for the tests of credentials ..."
    (apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ceph-mon ceph-osd radosgw) \
        >/dev/null 2>&1 || echo "Ceph could not be installed by apt-get: the tests of credentials will be skipped."
else
    echo "No Ceph, and no right to install it (apt-get as root): the tests of credentials will be skipped."
fi
