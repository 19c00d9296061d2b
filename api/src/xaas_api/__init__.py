"""REST, events and the embedded product: routes that read and write through the Store port."""
