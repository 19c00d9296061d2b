"""The engine: what a run does next, as a pure function of the facts.

Standard library only; no clock, no chance, no I/O. Read `states`, `decide`, `rollback`, in this
order: the tables of legal moves, the decision, and the order of undoing.
"""
