"""The sandbox: the language in which scripts and conditions are written.

A script passes two gates. `compile_script` checks the syntax tree and rewrites what can't be judged
by its look: reading and writing attributes, writing items. `scope` gives it guards for these, and a
world of listed names. Both deny by default, and know one vocabulary.

The policy is the first layer, not the boundary: it gives clear errors and no accidental access to
files, processes or credentials. The boundary is the process or the pod that the script runs in.
"""

from xaas_runner.sandbox.errors import describe_error
from xaas_runner.sandbox.execution import run, run_async, scope
from xaas_runner.sandbox.formatting import exact
from xaas_runner.sandbox.program import PolicyError, Program, compile_condition, compile_script
from xaas_runner.sandbox.tables import Handle, expose, keywords_are_data

__all__ = [
    "Handle",
    "PolicyError",
    "Program",
    "compile_condition",
    "compile_script",
    "describe_error",
    "exact",
    "expose",
    "keywords_are_data",
    "run",
    "run_async",
    "scope",
]
