"""Errors of this machine, in words that a user can act on.

MachineError                the operating system refuses something, or a resource is taken
└── SecretError             a secret that a file refers to cannot be read here

`explain_os_error` is the one place where errors of the operating system become messages.
"""

import errno

from remuda.errors import RemudaError


class MachineError(RemudaError):
    """The operating system refuses something, or a resource is taken."""


class SecretError(MachineError):
    """A secret that a file refers to cannot be read on this machine."""


_HINTS = {
    errno.ENOSPC: "free some space, or set REMUDA_HOME to a folder on a larger disk",
    errno.EDQUOT: "your disk quota is used up: free some space, or set REMUDA_HOME to another disk",
    errno.EACCES: "choose a folder you can write to: REMUDA_HOME=/path remuda …",
    errno.EPERM: "choose a folder you can write to: REMUDA_HOME=/path remuda …",
    errno.ENOENT: "choose a folder that can be made: REMUDA_HOME=/path remuda …",
    errno.EROFS: "the disk is read-only: set REMUDA_HOME to a folder you can write to",
    errno.EMFILE: "raise the limit of open files: ulimit -n 65536",
    errno.ENOMEM: "free some memory, or serve fewer replicas",
    errno.EEXIST: "a file stands where a folder is needed: remove it, or set REMUDA_HOME",
    errno.ENOTDIR: "a file stands where a folder is needed: remove it, or set REMUDA_HOME",
}


def explain_os_error(error: OSError) -> MachineError:
    """The operating system's error as a message with a hint."""
    what = error.strerror or str(error)
    path = f": {error.filename}" if error.filename else ""
    hint = _HINTS.get(error.errno or 0, "")
    return MachineError(f"{what[:1].lower()}{what[1:]}{path}", hint)
