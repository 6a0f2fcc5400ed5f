"""Where events, cursors and ledgers are kept: one interface, two backends (design.md §8)."""
