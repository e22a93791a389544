"""Renders the declared documents as JSON Schema, as Kubernetes CRDs and as the reference page."""
