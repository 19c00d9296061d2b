"""The `xaas` command and the SDK: clients of REST, which know nothing else of the product."""

import sys

# Params hold integers of any size; what the server shows must be readable here.
sys.set_int_max_str_digits(0)
