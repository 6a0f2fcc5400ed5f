"""The control plane of the Dezky workspace as a Kubernetes operator."""
