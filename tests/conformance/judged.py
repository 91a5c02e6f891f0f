"""CPython's test classes with our objects in the place of multiprocessing's.

Children unpickle methods of these classes by name, so the classes are made when this module is
imported, from two environment variables that children inherit.
"""

import importlib
import multiprocessing
import os

import names

ORIGIN = os.environ["NUMCREW_JUDGED_FROM"]
START_METHOD = os.environ["NUMCREW_JUDGED_START_METHOD"]

# Whether this process runs tests, or is a fork server, and is no child of theirs; asked before
# the package's own function is replaced.
IS_JUDGE = multiprocessing.parent_process() is None


def _objects():
    """Our objects by name; all of them must be there."""
    module = importlib.import_module(ORIGIN)
    wanted = names.taken_from(ORIGIN)
    if missing := [name for name in wanted if name not in dir(module)]:
        message = f"{ORIGIN} lacks {', '.join(missing)}, and nothing else may be judged instead"
        raise ImportError(message)
    if IS_JUDGE:
        return {name: getattr(module, name) for name in wanted}
    # A child unpickles what it is given, which loads what it needs.  The rest is not worth
    # the second that loading it takes in each spawned child.
    return {name: _late(module, name) for name in wanted}


def _late(module, name):
    """What looks for an object when it is called; but for what must be there now.

    Classes derive from Process; and what is the package's own would find what replaces it.
    """
    if name in {"Process", "active_children", "current_process", "parent_process"}:
        return getattr(module, name)
    return lambda *args, **kwargs: getattr(module, name)(*args, **kwargs)  # noqa: PLW0108 - late


def _install(ours):
    """Make the classes of test._test_multiprocessing for the start method in this module.

    The package's own attributes are replaced before the tests are imported.  So each mixin wraps
    ours as it wraps the standard library's, whichever way the Python at hand does that, classes
    derive from our Process, and tests that ask the package, also within what they import, get
    ours.
    """
    for name, one in ours.items():
        setattr(multiprocessing, name, one)
    from test import _test_multiprocessing as tests

    if "Value" in ours:
        # Imported from a module below the package.
        tests.Value = ours["Value"]
    for name, one in ours.items():
        for mixin in (tests.ProcessesMixin, tests.multiprocessing):
            if getattr(mixin, name, one) is not one:
                message = f"the tests were imported before {name} was replaced"
                raise ImportError(message)
    # The forkserver of some releases does not preload the main module, though it is asked to.
    tests.PRELOAD.append(__name__)
    tests.install_tests_in_module_dict(globals(), START_METHOD)
    if ORIGIN != names.STANDARD:
        if IS_JUDGE:
            # Named by its module and not by the package; the tests' children do not ask for it.
            managers = importlib.import_module(f"{ORIGIN}.managers")
            globals()["TestSyncManagerTypes"].manager_class = managers.SyncManager
        for check in names.PRIVATE_CHECKS:
            owner, method = check.split(".")
            setattr(globals()[owner], method, lambda *_: None)


def _install_lock_tests(ours):
    """Make the classes of test.lock_tests in this module."""
    from test import lock_tests

    for one in names.classes_about(ours, START_METHOD):
        attribute, name = names.LOCK_CLASSES[one]
        body = {attribute: staticmethod(ours[name]), "__module__": __name__}
        globals()[one] = type(one, (getattr(lock_tests, one),), body)


if START_METHOD == names.THREADS:
    _install_lock_tests(_objects())
else:
    _install(_objects())
