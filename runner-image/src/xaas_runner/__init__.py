"""The step runner: runs one step's script in the sandbox and reports to the gateway.

A leaf package: it needs the standard library and RestrictedPython only, so that it starts fast
and fits in a small image. Other packages import nothing from it but `xaas_runner.contract`.
"""
