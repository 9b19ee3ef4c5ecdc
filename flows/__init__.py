"""The way of an image, one flow a file: ingest, pretrain, propose, collect, retrain, advance; demo tells it all."""

import os

from plankseg import local_servers

if worker := os.environ.get(local_servers.RUNS_END_WITH_WORKER):
    local_servers.end_with(int(worker))
