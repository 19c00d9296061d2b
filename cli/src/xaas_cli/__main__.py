"""`python -m xaas_cli`: the same as `xaas`."""

from xaas_cli.main import main

main()
