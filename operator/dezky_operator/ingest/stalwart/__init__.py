"""Stalwart's webhook: what it sends, made into events of the log."""
