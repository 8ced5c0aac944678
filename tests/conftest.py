"""What all tests need."""

import signal

# A shell without job control starts what it puts in the background with Ctrl-C ignored; the
# commands under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
