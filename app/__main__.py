"""python -m app"""

import gc
import signal
import sys

from ml.cpus import limit_threads

# As process 1 of a container, a signal without a handler is dropped; the commands set their own once they are loaded.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
limit_threads()  # before anything loads a numeric library
gc.disable()  # what is imported stays: looking through it again and again takes a twelfth of the start

from app.cli import main  # noqa: E402

gc.freeze()
gc.enable()
main()
