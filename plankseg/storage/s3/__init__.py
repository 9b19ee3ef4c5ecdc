"""Everything that speaks to an S3 server: one client, one translation of its errors, objects, leases."""
