"""The way of an image, one flow a file: ingest, pretrain, propose, collect, retrain, advance; demo tells it all."""

import os
import signal

from plankseg import local_servers

if local_servers.RUNS_END_WITH_WORKER in os.environ:
    local_servers.die_with_parent(signal.SIGKILL)
