"""`python -I -S <folder of this package> [step | warm | evaluate | layers] …`; without a word: a
step. `layers` prints, as JSON, which of the system's layers a step has on this machine.

`-I -S` leaves out the site packages (it starts faster so, and nothing of the user's environment
gets in); so this file makes the package importable by itself, and `--path <folder>` adds folders
where its one dependency is found if not beside it.
"""

import gc
import itertools
import os
import sys


def _set_path(arguments: list[str]) -> None:
    """Import this package from the folder around it, the rest also from every `--path`."""
    here = os.path.dirname(os.path.abspath(__file__))
    # sys.path[0] is this very folder when it is run by its path: its modules would be importable
    # by their bare names then.
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != here]
    folders = [os.path.dirname(here)]
    folders += [value for word, value in itertools.pairwise(arguments) if word == "--path"]
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]


def _main(arguments: list[str]) -> int:
    _set_path(arguments)
    # Until all is imported, which stays: to look for garbage there is a tenth of a step's start.
    gc.disable()
    room = arguments[0] if arguments else "step"
    if room == "warm":
        from xaas_runner import warm

        return warm.main(arguments[1:])
    if room == "evaluate":
        from xaas_runner import evaluate

        return evaluate.main(arguments[1:])
    if room == "step":
        from xaas_runner import container

        # Not by sys.exit: what the script left behind shall not run while the interpreter ends.
        os._exit(container.main())
    if room == "layers":
        import json

        from xaas_runner import lockdown

        sys.stdout.write(json.dumps(lockdown.lock_down(lockdown.Limits())))
        return 0
    sys.stderr.write(f"unknown: {room!r}; one of step, warm, evaluate, layers\n")
    return 64


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
