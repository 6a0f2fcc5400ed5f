"""What the operator serves over HTTP: the ways in for events."""
