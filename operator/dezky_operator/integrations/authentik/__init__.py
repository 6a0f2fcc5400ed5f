"""Sign-in: a tenant's groups, its own application, its brand and its first administrator in Authentik."""
