"""The operator as a source of its own: every step it takes, every change of a spec it sees, its own start and stop."""
