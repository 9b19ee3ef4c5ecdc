"""The HTTP interface of Label Studio: client, transport, brush encoding, data manager."""
