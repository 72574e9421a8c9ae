"""Python reads this at its start where the folder is on PYTHONPATH: arms the first of several training
processes, which a launcher starts and a test cannot reach otherwise. ``SOCRATES_TEST_KILL`` is a place of
tests/killing.py, or ``3:notice``: SIGTERM to the program that started the launcher."""

import os

if os.environ.get("SOCRATES_TEST_KILL") and os.environ.get("RANK") == "0":
    import signal

    import psutil

    from socrates.runs.callbacks import RunCallback
    from tests import killing

    step, moment = os.environ["SOCRATES_TEST_KILL"].split(":")
    if moment == "notice":
        on_step_end = RunCallback.on_step_end

        def notified(callback, args, state, *others, **events):
            if state.global_step == int(step):
                launcher = psutil.Process(os.getppid())
                launcher.parent().send_signal(signal.SIGTERM)
            return on_step_end(callback, args, state, *others, **events)

        RunCallback.on_step_end = notified
    else:
        killing.arm(os.environ["SOCRATES_TEST_KILL"])
