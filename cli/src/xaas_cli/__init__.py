"""The `xaas` command and the SDK: clients of REST, which know nothing else of the product."""
