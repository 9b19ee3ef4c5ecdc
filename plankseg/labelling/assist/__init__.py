"""The interactive backend of Label Studio: its protocol, its routes, and its registration in projects."""
