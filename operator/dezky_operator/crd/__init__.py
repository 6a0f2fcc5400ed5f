"""Typed views of the resources. The YAML files in `crds/` are the source of truth; tests hold both together."""
