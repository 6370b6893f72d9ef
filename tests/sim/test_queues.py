"""The waiting queues, against sorted lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.queues import ArrivalQueue, Front, PriorityQueue
from sim.request import Request

STEPS = st.lists(st.tuples(st.sampled_from(("add", "remove", "expire", "reorder")), st.integers(0, 9)), max_size=60)


def request(id: int, prompt: int = 1) -> Request:
    return Request(id, float(id), prompt, 1)


def test_first_come_first_served_but_victims_return_to_the_front() -> None:
    queue = ArrivalQueue()
    first, second, third = (request(id) for id in range(3))
    for one in (first, second, third):
        queue.add(one)
    queue.remove(first)
    queue.remove(third)
    queue.put_back(first)
    assert [one.id for one in queue] == [0, 1]
    assert len(queue) == queue.size == 2
    assert [front.requests for front in queue.fronts(1)] == [[first]]
    queue.remove(first)
    assert [front.requests for front in queue.fronts(1)] == [[second]]
    with pytest.raises(KeyError):
        queue.remove(third)


def test_a_front_knows_what_is_left_of_prompts() -> None:
    requests = [request(0, 7), request(1, 3), request(2, 5)]
    front = Front(requests)
    assert front.least == 3
    assert front.up_to(2) == []
    assert front.up_to(5) == requests[1:]
    assert Front([]).up_to(100) == []


def test_every_change_changes_the_version() -> None:
    for queue in (ArrivalQueue(), PriorityQueue(lambda one: one.prompt_tokens, lambda one: 5.0)):
        one, seen = request(0), [queue.version]
        for change in (queue.add, queue.remove, queue.put_back):
            change(one)
            seen.append(queue.version)
        if isinstance(queue, PriorityQueue):
            queue.expire(6.0)
            seen.append(queue.version)
            queue.reorder()
            seen.append(queue.version)
        assert len(set(seen)) == len(seen)


def test_deadlines_pass() -> None:
    queue = PriorityQueue(lambda one: -one.id, lambda one: float(one.id))
    requests = [request(id) for id in range(4)]
    for one in requests:
        queue.add(one)
    queue.expire(2.0)
    assert [one.id for one in queue.overdue] == [1, 0]
    assert [one.id for one in queue.fresh] == [3, 2], "a deadline has passed when it lies before now"
    assert [one.id for one in queue] == [3, 2, 1, 0]
    queue.remove(requests[0])
    queue.put_back(requests[0])
    assert [one.id for one in queue.fresh] == [3, 2, 0], "who comes back is judged anew"
    queue.expire(2.0)
    assert [one.id for one in queue.overdue] == [1, 0]


@given(STEPS)
def test_priority_queue_is_a_sorted_list(steps: list[tuple[str, int]]) -> None:
    weights = dict.fromkeys(range(10), 0)
    requests = {id: request(id) for id in range(10)}
    queue = PriorityQueue(lambda one: weights[one.id], lambda one: 10.0 * one.id if one.id % 3 else float("inf"))
    keys: dict[int, int] = {}
    late: set[int] = set()
    for what, id in steps:
        if what == "add" and id not in keys:
            keys[id] = weights[id]
            queue.add(requests[id])
        elif what == "remove" and id in keys:
            queue.remove(requests[id])
            del keys[id]
            late.discard(id)
        elif what == "expire":
            queue.expire(10.0 * id)
            late |= {other for other in keys if other % 3 and 10.0 * other < 10.0 * id}
        elif what == "reorder":
            weights = {other: (other * (id + 3)) % 7 for other in weights}
            keys = {other: weights[other] for other in keys}
            queue.reorder()
        ranked = sorted(keys, key=lambda other: (keys[other], other))
        assert [one.id for one in queue] == ranked
        assert [one.id for one in queue.overdue] == [other for other in ranked if other in late]
        assert [one.id for one in queue.fresh] == [other for other in ranked if other not in late]
        assert len(queue) == len(ranked)
        for part, front in zip((queue.overdue, queue.fresh), queue.fronts(3), strict=True):
            assert front.requests == [*part][:3]
