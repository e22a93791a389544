"""What can be known about an engine from outside: how far its start is, whether it answers or hangs, why it died."""
