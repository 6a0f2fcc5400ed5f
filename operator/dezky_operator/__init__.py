"""The control plane of the Dezky workspace as a Kubernetes operator."""

__version__ = "0.1.0"
