"""Authentik as a source: its events, polled."""
