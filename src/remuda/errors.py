"""The root of every error a user can see.

RemudaError                 what happened, the value, and how to go on
├── spec.SpecError          a model file is wrong (every problem listed, file:line:col)
├── planner.PlanError       the file is well formed, but cannot run as written
├── machine.MachineError    the operating system refuses something, or a resource is taken
├── engine.EngineError      an engine cannot be installed, started or kept alive
├── gateway.GatewayError    the gateway cannot listen or was given impossible settings
└── fleet.FleetError        `remuda up`, `status`, `down` …: this machine's fleet

Only `cli.main` turns these into stderr and an exit status. Anything else that escapes is a bug and shows its traceback.
"""


class RemudaError(Exception):
    """Something a user can act on: `message` says what happened with the value, `hint` what to do next."""

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message
