"""What all sides agree on: the pure engine, the models, the ports, the reconciler, the gateway."""
