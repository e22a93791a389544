"""The root of every error that a user can see.

RemudaError                 what happened, the value, and what to do next
├── spec.SpecError          a model file is invalid (every problem is listed with file:line:column)
├── planner.PlanError       the file is well formed, but cannot run as written
├── planner.DeviceError     the machine has too few devices for what is to be started
├── machine.MachineError    the operating system refuses something, or a resource is taken
├── engine.EngineError      an engine cannot be installed, started or kept alive
├── gateway.GatewayError    the gateway cannot listen or was given impossible settings
└── fleet.FleetError        `remuda up`, `status`, `down` …: this machine's fleet

Only `cli.main` turns these into a message and an exit status. Any other exception is a bug and shows its traceback.
"""


class RemudaError(Exception):
    """An error that a user can act on. `message` says what happened, with the value; `hint` says what to do next."""

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message
