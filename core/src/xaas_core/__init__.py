"""What all sides agree on: the pure engine, the models, the ports, the reconciler, the gateway."""

import sys

# Scripts' edits keep integers of any size; Python by itself refuses to read or write more than
# 4300 digits. Not without a bound, though: reading takes quadratic time. Runners have the same.
sys.set_int_max_str_digits(100_001)
