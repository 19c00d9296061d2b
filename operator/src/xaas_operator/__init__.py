"""The operator: reconciles pipelines on Kubernetes, and serves the gateway to their runners."""
