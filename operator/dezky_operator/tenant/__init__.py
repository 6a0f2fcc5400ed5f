"""The rules of a tenant's life: who it is, what it owns, what it must be, how it is told. No kopf, no Kubernetes."""
