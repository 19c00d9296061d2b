"""What tests need of the core: a store in memory, a virtual clock, a stage, runners that play.

    builders          plans, definitions and runs in a line
    clock             a clock that moves when it is told to
    memory_store      `ports.Store`, complete, in memory
    stage             coroutines that take turns by a seeded choice, without an event loop
    scripted          a launcher whose runners play scripts on a stage, and an evaluator

Nothing here is imported by the product itself.
"""
