"""The shape that is measured: the tutorial's 11 tasks, with empty scripts."""

DAG: dict[str, tuple[str, ...]] = {
    "1": (),
    "2": ("1",),
    "3": ("2",),
    "4": ("3",),
    "5": ("2",),
    "6": ("5",),
    "7": ("2",),
    "8": ("7",),
    "9": ("7",),
    "10": ("4", "6", "8", "9"),
    "11": ("10",),
}

TASK = {"category": "bench", "name": "empty", "steps": [{"doScript": "pass"}]}

PIPELINE = {
    "category": "bench",
    "name": "tutorial",
    "tasks": [
        {"ref": ref, "name": "empty", "dependsOn": list(needs)} for ref, needs in DAG.items()
    ],
}
