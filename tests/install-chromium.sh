#!/usr/bin/env bash
# The browser walk needs Chromium: install Debian's where it is missing and we may, and say so where we may not.
set -u
if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then
    exit 0
fi
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "Installing Debian's Chromium for the browser walk ..."
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium) >/dev/null 2>&1 ||
        echo "Chromium could not be installed by apt-get: the browser walk will be skipped."
else
    echo "No Chromium, and no right to install it (apt-get as root): the browser walk will be skipped."
fi
