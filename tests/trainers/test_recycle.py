"""The repair queue's limits, its order of service and its round trip; the store of successes."""

import json
import math
from dataclasses import replace

import pytest

from trainers.recycle import (
    Failure,
    RecycleConfig,
    RepairQueue,
    Success,
    SuccessStore,
    error_signature,
)

UNKNOWN = "ERROR: Unknown command: thermoo 100 (src/input.cpp:314)"


def failure(number=0, *, task="task-0", error=UNKNOWN, depth=0, version=0, script=None):
    return Failure(
        trajectory_id=f"trajectory-{number}",
        task_id=task,
        script=f"run {number}" if script is None else script,
        error=error,
        depth=depth,
        version=version,
    )


def queue(**changes):
    return RepairQueue(config=RecycleConfig(**changes))


def never_solved(_):
    return 0.0


def test_signature_forgets_names_numbers_files_and_places_but_not_the_kind_of_error():
    first = "ERROR: Cannot open file 'Cu_u3.eam': No such file (src/potential_file.cpp:58)\nmore"
    second = "ERROR: Cannot open file 'Al.eam.alloy': No such file (src/pair_eam.cpp:472)"
    assert error_signature(first) == error_signature(second)
    assert error_signature("ERROR: Lost atoms: original 500 current 217") == error_signature(
        "ERROR: Lost atoms: original 4000 current 3998"
    )
    assert error_signature(first) != error_signature(UNKNOWN)
    assert error_signature("") == ""


def test_one_entry_per_task_signature_and_script():
    waiting = queue(max_per_task=0)
    same = [failure(1), failure(1), failure(1, error=UNKNOWN.replace("314", "999"))]
    assert waiting.add(same) == 1
    assert waiting.add([failure(1)]) == 0
    others = [failure(2), failure(1, task="task-1"), failure(1, error="ERROR: Lost atoms")]
    assert waiting.add(others) == 3


def test_a_full_task_gives_up_its_oldest_failure():
    waiting = queue(max_per_task=2)
    waiting.add([failure(n, version=0) for n in range(5)])
    assert [f.script for f in waiting.waiting] == ["run 0", "run 1"]
    assert waiting.add([failure(9, version=1)]) == 1
    assert [f.script for f in waiting.waiting] == ["run 0", "run 9"]


def test_failures_of_the_depth_limit_are_not_queued():
    waiting = queue(max_per_task=0)
    assert waiting.add([failure(d, depth=d) for d in range(4)]) == 2
    assert {f.depth for f in waiting.waiting} == {0, 1}


def test_failures_expire_by_age_and_by_pass_rate():
    waiting = queue(max_age=4)
    waiting.add([failure(1, task="old", version=0), failure(2, task="solved", version=5)])
    waiting.add([failure(3, task="kept", version=1)])
    waiting.expire(5, {"old": 0.0, "solved": 0.9, "kept": 0.89}.__getitem__)
    assert [f.task_id for f in waiting.waiting] == ["kept"]
    waiting.expire(6, never_solved)
    assert waiting.waiting == []


def test_a_failure_is_tried_twice_and_not_queued_again_while_that_is_fresh():
    waiting = queue(max_tries=2, max_age=4)
    waiting.add([failure(1)])
    assert [f.tries for f in waiting.draw(3, 0) + waiting.draw(3, 1)] == [0, 1]
    assert waiting.draw(3, 2) == []
    assert waiting.add([failure(1, version=2)]) == 0
    waiting.expire(6, never_solved)
    assert waiting.add([failure(1, version=6)]) == 1


def test_one_draw_takes_different_tasks():
    waiting = queue(max_per_task=3)
    waiting.add([failure(n, task=f"task-{n // 3}") for n in range(9)])
    assert [f.task_id for f in waiting.draw(5, 0)] == ["task-0", "task-1", "task-2"]


def test_fresh_failures_of_errors_whose_repairs_differ_in_reward_come_first():
    waiting = queue(max_per_task=0, age_scale=2.0)
    dull, lively = "ERROR: Lost atoms", "ERROR: Unknown pair style"
    for _ in range(20):
        waiting.record(failure(0, error=dull), [0.0] * 8)
        waiting.record(failure(0, error=lively), [0.0, 1.0] * 4)
    items = [
        failure(1, task="a", error=dull, version=4),
        failure(2, task="b", error=lively, version=2),
        failure(3, task="c", error=lively, version=4),
        failure(4, task="d", version=4),  # not met yet: the prior
    ]
    waiting.add(items)
    assert [f.task_id for f in waiting.draw(4, 4)] == ["c", "d", "b", "a"]
    assert waiting.priority(items[1], 4) == pytest.approx(0.5 * math.exp(-1), rel=1e-2)


def test_budget_follows_the_share_of_repairs_that_teach_and_never_exceeds_its_maximum():
    waiting = queue(max_repair_share=1 / 3)
    assert waiting.budget(12) == 4
    for _ in range(50):
        waiting.record_teaching("first", 0.8)
        waiting.record_teaching("repair", 0.4)
    assert waiting.budget(12) == 2
    for _ in range(50):
        waiting.record_teaching("repair", 0.0)
    assert waiting.budget(12) == 1, "one prompt stays, so that recovery is seen"
    for _ in range(50):
        waiting.record_teaching("repair", 1.0)
    assert waiting.budget(12) == 4
    assert queue(max_repair_share=1 / 3, adapt_share=False).budget(12) == 4
    assert waiting.budget(2) == 0


def test_without_a_share_for_repair_nothing_is_queued():
    waiting = queue(max_repair_share=0.0)
    assert waiting.budget(99) == 0
    assert waiting.add([failure(1)]) == 0


def test_the_ablation_without_limits_keeps_everything():
    waiting = queue(max_repair_share=1.0, max_age=0, max_tries=0, max_per_task=0, deduplicate=False)
    waiting.add([failure(1)] * 3)
    waiting.expire(1000, never_solved)
    assert len(waiting.draw(1, 1000) + waiting.draw(1, 1001) + waiting.draw(1, 1002)) == 3
    assert len(waiting.waiting) == 3


def test_a_queue_read_back_from_json_goes_on_identically():
    waiting = queue()
    waiting.add(
        [failure(n, task=f"task-{n}", error=f"ERROR: kind{'abc'[n % 3]}") for n in range(6)]
    )
    waiting.record(failure(1, error="ERROR: kind b"), [0.1, 0.7])
    waiting.record_teaching("repair", 0.9)
    waiting.draw(2, 1)
    waiting.draw(3, 2)
    restored = RepairQueue.from_json(waiting.config, json.loads(json.dumps(waiting.to_json())))
    assert restored == waiting
    assert restored.draw(4, 3) == waiting.draw(4, 3)
    assert restored == waiting


def test_stats_count_sizes_ages_and_the_commonest_errors():
    waiting = queue(max_per_task=0)
    waiting.add([failure(n, version=n) for n in range(3)])
    waiting.add([failure(7, error="ERROR: Lost atoms", version=2)])
    stats = waiting.stats(version=3)
    assert (stats["queue/size"], stats["queue/age_max"]) == (4, 3)
    assert stats["queue/age_mean"] == pytest.approx((3 + 2 + 1 + 1) / 4)
    assert list(stats["queue/signatures"].values()) == [3, 1]


def success(script, task="task-0", version=0):
    return Success(task_id=task, script=script, version=version)


def test_replay_takes_the_newest_successes_of_tasks_that_are_still_hard():
    store = SuccessStore()
    store.add([success("a", "hard", 1), success("b", "easy", 3), success("c", "hard", 2)])
    rates = {"hard": 0.2, "easy": 0.8}
    assert [s.script for s in store.draw(5, rates.__getitem__, 0.5)] == ["c", "a"]
    assert [s.script for s in store.draw(1, rates.__getitem__, 0.9)] == ["b"]


def test_a_task_keeps_its_newest_successes_and_each_script_once():
    store = SuccessStore(per_task=2)
    store.add([success("a", version=1), success("b", version=2), success("a", version=3)])
    assert [(s.script, s.version) for s in store.kept] == [("b", 2), ("a", 3)]
    store.add([success("c", version=4)])
    assert [s.script for s in store.kept] == ["a", "c"]
    assert SuccessStore.from_json(json.loads(json.dumps(store.to_json()))) == store


def test_replaced_fields_do_not_change_what_identifies_a_failure():
    one = failure(1)
    assert replace(one, trajectory_id="x", version=9, tries=1, depth=1).key == one.key
    assert replace(one, script="run 2").key != one.key
