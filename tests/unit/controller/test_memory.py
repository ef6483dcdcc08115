"""Free memory goes back to the system, where the C library can do that."""

import gc

from controller import memory
from lattice.machinery.tasks import TaskOwner
from lattice.testing.clock import FakeClock
from lattice.testing.polling import eventually

MB = 1024 * 1024


async def test_memory_is_given_back_when_the_process_has_grown(monkeypatch):
    called, size = [], [100 * MB]
    monkeypatch.setattr(memory, "_function", lambda name: called.append if name == "malloc_trim" else None)
    monkeypatch.setattr(memory, "_resident_bytes", lambda: size[0])
    clock = FakeClock()
    async with TaskOwner("test") as tasks:
        tasks.spawn(memory.give_back_for_ever(clock), name="memory")
        for grown_to, expected in ((100 * MB, 1), (110 * MB, 1), (131 * MB, 1), (132 * MB, 2), (100 * MB, 2), (164 * MB, 3)):
            size[0] = grown_to
            await eventually(lambda: clock.sleepers == 1, 5, "it to sleep")
            await clock.advance(memory._TRIM_PERIOD_S)
            await eventually(lambda: clock.sleepers == 1, 5, "it to have looked")
            assert len(called) == expected, grown_to
    assert all(kept > 0 for kept in called)


def test_the_size_of_this_process_is_known():
    assert MB < memory._resident_bytes() < 100_000 * MB


async def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory, "_function", lambda _name: None)
    memory.tune_allocator()
    await memory.give_back_for_ever(FakeClock())


def test_a_function_that_is_not_there_is_none():
    assert memory._function("no_such_function_of_malloc") is None


def test_what_exists_after_the_start_is_not_looked_at_again():
    before = gc.get_threshold()
    try:
        memory.settle()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
