"""What the judges' Python shares with `verdict.sh`: checks that are counted, and the last line."""
import contextlib
import sys
import time

passed = failed = 0
whose = ""


def check(what, right, seen=None):
    global passed, failed
    if right:
        passed += 1
        print("ok  ", whose + what)
    else:
        failed += 1
        print("FAIL", whose + what, "" if seen is None else f"-- saw {seen!r}")


@contextlib.contextmanager
def on(side):
    """The checks within name this side: the same ones are made on several."""
    global whose
    before, whose = whose, f"{side}: "
    yield
    whose = before


def equal(what, seen, wanted):
    check(what, seen == wanted, seen)


def wait_for(what, seconds, look):
    """`look` answers True within this time; until then, what it sees instead."""
    end = time.monotonic() + seconds
    while True:
        seen = look()
        if seen is True:
            check(what, True)
            return
        if time.monotonic() > end:
            check(what, False, seen)
            return
        time.sleep(0.05)


def end():
    """Prints the count, and fails when anything did or nothing was judged."""
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)
