"""Ctrl-C while Qiskit Aer is imported: heard, and the import can be made again."""

import subprocess
import sys
import textwrap

# Aer's compiled module makes an ImportError of a KeyboardInterrupt in its initialisation; the
# finder does the same, since no test can hit those milliseconds.
INTERRUPTED = """
    import os, signal, sys, time

    class Interrupt:
        def find_spec(self, name, path=None, target=None):
            if name == "qiskit_aer.backends.controller_wrappers":
                sys.meta_path.remove(self)
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(0.01)
                except KeyboardInterrupt as error:
                    raise ImportError("KeyboardInterrupt") from error

    sys.meta_path.insert(0, Interrupt())
    from hardware.devices.backends import fake_backend
    try:
        fake_backend("manila")
    except KeyboardInterrupt:
        print("heard")
    import qiskit_aer
    print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_an_interrupt_of_the_first_import_of_aer_is_heard() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(INTERRUPTED)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (ended.returncode, ended.stdout) == (0, "heard\nTrue\n"), ended.stderr
