"""Turns: records of several tasks are applied together, a failure ends them, and a merge that waits comes again."""

from __future__ import annotations

import asyncio

from tests.support.world import Process, Shop


class Scripted:
    """A task whose turns are told in advance."""

    def __init__(self, process: Process, turns: list[bool], seen: list[tuple[str, str]], name: str) -> None:
        self._process, self._turns, self._seen, self._name = process, turns, seen, name

    def take_turn(self) -> bool:
        applied = self._turns.pop(0)
        self._seen.append((self._name, "turn"))
        if self._turns:
            turns = self._process.context.turns
            (turns.add if applied else turns.add_later)(self)
        return applied

    async def finish_run(self) -> None:
        self._seen.append((self._name, "finish"))


async def _settled(seen: list[tuple[str, str]], count: int) -> None:
    async with asyncio.timeout(5):
        while len(seen) < count:
            await asyncio.sleep(0.005)


async def test_all_tasks_apply_before_any_of_them_is_finished() -> None:
    process, seen = Process(Shop()), list[tuple[str, str]]()
    for name in ("a", "b"):
        process.context.turns.add(Scripted(process, [True, True], seen, name))
    await _settled(seen, 8)
    turn = [("a", "turn"), ("b", "turn"), ("a", "finish"), ("b", "finish")]
    assert seen == turn * 2
    await process.die()


async def test_a_task_that_waits_gets_another_turn_without_a_new_record() -> None:
    process, seen = Process(Shop()), list[tuple[str, str]]()
    process.context.turns.add(Scripted(process, [False, True], seen, "a"))
    await _settled(seen, 3)
    assert seen == [("a", "turn"), ("a", "turn"), ("a", "finish")]
    await process.die()


async def test_after_a_failure_there_are_no_more_turns() -> None:
    process, seen = Process(Shop()), list[tuple[str, str]]()
    process.context.turns.add(Scripted(process, [], seen, "broken"))
    process.context.turns.add(Scripted(process, [True], seen, "a"))
    await asyncio.sleep(0.01)
    process.context.turns.add(Scripted(process, [True], seen, "b"))
    await asyncio.sleep(0.01)
    assert [type(failure) for failure in process.failures] == [IndexError]
    assert seen == []
    await process.die()


async def test_closed_turns_serve_nobody() -> None:
    process, seen = Process(Shop()), list[tuple[str, str]]()
    process.context.turns.add(Scripted(process, [True], seen, "a"))
    await process.context.turns.close()
    process.context.turns.add(Scripted(process, [True], seen, "b"))
    await asyncio.sleep(0.01)
    assert seen == []
    await process.die()


async def test_records_that_trickle_in_are_applied_at_a_pace_and_a_backlog_without_pauses() -> None:
    process, seen = Process(Shop()), list[tuple[str, str]]()
    turns, now = process.context.turns, asyncio.get_running_loop().time
    turns.pace_s = 0.1
    started = now()
    turns.add(Scripted(process, [True] * 5, seen, "backlog"))
    await _settled(seen, 10)
    assert now() - started < turns.pace_s
    for name in ("a", "b"):
        turns.add(Scripted(process, [True], seen, name))
        await asyncio.sleep(0.01)
    await _settled(seen, 14)
    assert now() - started >= turns.pace_s
    assert seen[10:] == [("a", "turn"), ("b", "turn"), ("a", "finish"), ("b", "finish")]
    await process.die()
