"""REST and events, embedded and on Kubernetes: routes that read and write through the Store port."""
