"""The Kubernetes backend: the only door to the API server.

Implements the ports of `xaas_core.ports`: the store over custom resources, the launcher over Jobs,
logs from pods, and the evaluator beside us.
"""
