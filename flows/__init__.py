"""The way of an image, one flow a file: ingest, pretrain, propose, collect, retrain, advance; demo tells it all."""
