"""python -m app"""

import signal
import sys

# As process 1 of a container, a signal without a handler is dropped; the commands set their own once they are loaded.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

from app.cli import main  # noqa: E402

main()
