"""What is judged by CPython's tests: our names, the test classes about them, and what is left out.

To take a name from the engine, add it to `TAKEN`; every class of `CLASSES` all of whose names are
taken is run from then on.
"""

import os
import sys

# The names that replace multiprocessing's in CPython's tests.  A name that the engine lacks fails
# the run, so that nothing is judged that is the standard library's own.
TAKEN = (
    "Array",
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Pipe",
    "Pool",
    "Process",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SimpleQueue",
    "Value",
    "active_children",
    "current_process",
    "get_context",
    "parent_process",
)

# Class of test._test_multiprocessing -> the names that it is about.  Other names that its tests
# use are ours if they are taken, else the standard library's.
CLASSES = {
    "WithProcessesTestProcess": ("Process",),
    "WithProcessesTestSubclassingProcess": ("Process",),
    "WithProcessesTestAtExit": ("Process",),
    "WithProcessesTestPollEintr": ("Process",),
    "TestCloseFds": ("Process",),
    "TestStdinBadfiledescriptor": ("Process",),
    "WithProcessesTestLock": ("Lock", "RLock"),
    "WithProcessesTestSemaphore": ("Semaphore", "BoundedSemaphore"),
    "WithProcessesTestCondition": ("Condition",),
    "WithProcessesTestEvent": ("Event",),
    "WithProcessesTestBarrier": ("Barrier",),
    "WithProcessesTestValue": ("Value", "RawValue"),
    "WithProcessesTestArray": ("Array", "RawArray"),
    "WithProcessesTestSharedCTypes": ("Value", "Array"),
    "WithProcessesTestQueue": ("Queue", "JoinableQueue"),
    "TestSimpleQueue": ("SimpleQueue",),
    "WithProcessesTestConnection": ("Pipe",),
    "WithProcessesTestPoll": ("Pipe",),
    "WithProcessesTestPicklingConnections": ("Pipe",),
    "TestIgnoreEINTR": ("Pipe",),
    "TestWait": ("Pipe",),
    "WithProcessesTestPool": ("Pool",),
    "WithProcessesTestPoolWorkerErrors": ("Pool",),
    "WithProcessesTestPoolWorkerLifetime": ("Pool",),
    "WithManagerTestLock": ("Manager",),
    "WithManagerTestSemaphore": ("Manager",),
    "WithManagerTestCondition": ("Manager",),
    "WithManagerTestEvent": ("Manager",),
    "WithManagerTestBarrier": ("Manager",),
    "WithManagerTestQueue": ("Manager",),
    "WithManagerTestContainers": ("Manager",),
    "WithManagerTestPool": ("Manager",),
    "TestInitializers": ("Pool", "Manager"),
    "TestSyncManagerTypes": ("Manager",),
}

# Classes that older releases do not have.
SINCE = {"WithProcessesTestAtExit": (3, 13)}

# Classes that are judged for some start methods only, unless the environment has EVERYTHING: those
# that take long for what the others show as well.  How an object comes to a child is the same
# code for all of them, and is judged for each start method by the classes of processes, pools,
# queues, locks, conditions, events, numbers and connections; that a manager can be started in
# each way, by those of its locks, events and containers.
EVERYTHING = "NUMCREW_EVERYTHING"
ENOUGH = {
    # Each test starts half a dozen children, which a fork server does quickly.
    "WithProcessesTestBarrier": ("fork", "forkserver"),
    # What children do with proxies and connections once they have them.
    "WithManagerTestCondition": ("fork",),
    "WithManagerTestBarrier": ("fork",),
    "WithManagerTestQueue": ("fork",),
    "TestSyncManagerTypes": ("fork",),
    "TestWait": ("fork",),
    # Signals while a child runs, and what it does without an input.
    "TestIgnoreEINTR": ("fork",),
    "TestStdinBadfiledescriptor": ("fork",),
    "WithProcessesTestPollEintr": ("fork",),
    # Workers of a pool are started by it in its own way whatever the start method.
    "WithProcessesTestPoolWorkerErrors": ("fork",),
    "WithProcessesTestPoolWorkerLifetime": ("fork",),
    "WithManagerTestPool": ("fork",),
}

# Class of test.lock_tests -> the attribute through which its tests make objects, and our name.
# They are written for threads of one process, and hold for what processes share just as well.
LOCK_CLASSES = {
    "LockTests": ("locktype", "Lock"),
    "RLockTests": ("locktype", "RLock"),
    "SemaphoreTests": ("semtype", "Semaphore"),
    "BoundedSemaphoreTests": ("semtype", "BoundedSemaphore"),
    "ConditionTests": ("condtype", "Condition"),
    "EventTests": ("eventtype", "Event"),
    "BarrierTests": ("barriertype", "Barrier"),
}

# Tests that ours cannot pass or that do not judge ours, with the reason of each.
PRIVATE = {
    "WithProcessesTestQueue.test_queue_feeder_donot_stop_onexc": (
        "expects that an object that cannot be pickled is printed by a thread; ours is an error "
        "where it is put"
    ),
    "WithProcessesTestQueue.test_queue_feeder_on_queue_feeder_error": (
        "derives from multiprocessing.queues.Queue, and so judges that class whatever is taken"
    ),
    "TestSyncManagerTypes.test_lock": (
        "lets a process end that holds the lock; ours then says so, where the standard library's "
        "is released by anybody"
    ),
    "WithManagerTestEvent.test_repr": "expects the representation of the standard library's proxy",
    "WithProcessesTestSharedCTypes.test_copy": (
        "judges multiprocessing.sharedctypes.copy, a function that the package does not export"
    ),
    "WithProcessesTestPoolWorkerLifetime"
    ".test_worker_finalization_via_atexit_handler_of_multiprocessing": (
        "imports multiprocessing in an isolated interpreter, and so judges the standard library"
    ),
    "TestSimpleQueue.test_closed": "looks at the queue's _reader and _writer",
}

# Checks within tests that read attributes of the standard library's objects alone; they are
# replaced by nothing, so that the tests themselves are run.
PRIVATE_CHECKS = {
    "WithProcessesTestCondition.check_invariant": (
        "reads the three semaphores of which the standard library makes a condition"
    ),
}

# Tests of test.lock_tests that hold for threading's classes alone.  The standard library's
# multiprocessing fails each of them; it passes all others, and so must ours.
THREADING_ONLY = {
    "LockTests.test_at_fork_reinit": "_at_fork_reinit is private to threading",
    "LockTests.test_locked_repr": "the representation is threading's",
    "LockTests.test_repr": "the representation is threading's",
    "LockTests.test_state_after_timeout": "multiprocessing's lock has no locked()",
    "LockTests.test_timeout": "multiprocessing accepts a timeout without blocking, and below zero",
    "RLockTests.test__is_owned": "_is_owned is private to threading",
    "RLockTests.test_different_thread": "multiprocessing raises AssertionError, not RuntimeError",
    "RLockTests.test_locked_repr": "the representation is threading's",
    "RLockTests.test_recursion_count": "_recursion_count is private to threading",
    "RLockTests.test_release_save_unacquired": "_release_save is private to threading",
    "RLockTests.test_release_unacquired": "multiprocessing raises AssertionError, not RuntimeError",
    "RLockTests.test_repr": "the representation is threading's",
    "RLockTests.test_timeout": "multiprocessing accepts a timeout without blocking, and below zero",
    "SemaphoreTests.test_acquire_timeout": "multiprocessing accepts a timeout without blocking",
    "SemaphoreTests.test_constructor": "multiprocessing raises OSError for a value below zero",
    "SemaphoreTests.test_multirelease": "multiprocessing's release() takes no number",
    "SemaphoreTests.test_repr": "the representation is threading's",
    "BoundedSemaphoreTests.test_acquire_timeout": (
        "multiprocessing accepts a timeout without blocking"
    ),
    "BoundedSemaphoreTests.test_constructor": (
        "multiprocessing raises OSError for a value below zero"
    ),
    "BoundedSemaphoreTests.test_multirelease": "multiprocessing's release() takes no number",
    "BoundedSemaphoreTests.test_repr": "the representation is threading's",
    "ConditionTests.test_unacquired_notify": (
        "multiprocessing raises AssertionError, not RuntimeError"
    ),
    "ConditionTests.test_unacquired_wait": (
        "multiprocessing raises AssertionError, not RuntimeError"
    ),
    "EventTests.test_at_fork_reinit": "_at_fork_reinit is private to threading",
    "EventTests.test_repr": "the representation is threading's",
    "BarrierTests.test_constructor": "multiprocessing accepts any number of parties",
    "BarrierTests.test_repr": "the representation is threading's",
}

# What the standard library fails only now and then; ours has no excuse.
STANDARD_FLAKY = {
    "EventTests.test_set_and_clear": (
        "multiprocessing's Event.wait() looks at the flag once more when it wakes, and returns "
        "False if it was cleared by then"
    ),
}

START_METHODS = ("fork", "forkserver", "spawn")

# The pseudo start method of test.lock_tests, which start threads only.
THREADS = "threads"

STANDARD = "multiprocessing"


def taken_from(origin):
    """The names that a module is judged by; the standard library is judged by all of them."""
    if origin != STANDARD:
        return TAKEN
    about = {name for names in CLASSES.values() for name in names}
    return tuple(sorted(about))


def classes_about(names, start_method):
    """The test classes all of whose names are among these."""
    if start_method == THREADS:
        return [one for one, (_, name) in LOCK_CLASSES.items() if name in names]
    return [
        one
        for one, about in CLASSES.items()
        if set(about) <= set(names) and sys.version_info >= SINCE.get(one, (3,))
    ]


def is_enough_without(one, start_method):
    """Whether a class need not be judged for a start method now."""
    return EVERYTHING not in os.environ and start_method not in ENOUGH.get(one, (start_method,))


def left_out(origin, start_method):
    """Tests that are not run, with the reason of each, as ``{"Class.test": reason}``."""
    if start_method == THREADS:
        return THREADING_ONLY | STANDARD_FLAKY if origin == STANDARD else THREADING_ONLY
    return {} if origin == STANDARD else PRIVATE
