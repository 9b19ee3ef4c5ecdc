"""The webhook relay: payloads, debouncing, events for Prefect."""
