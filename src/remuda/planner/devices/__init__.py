"""Assigns the GPUs and CPU cores of one machine to the engines of a fleet.

Pure: models and the machine's devices in, the devices of each engine out. The package does not know how devices are
found, or how an engine is bound to them.
"""

from remuda.planner.devices.plan import DevicePlan, plan_devices
from remuda.planner.devices.values import Core, DeviceError, EngineDevices, Gpu, Machine

__all__ = ["Core", "DeviceError", "DevicePlan", "EngineDevices", "Gpu", "Machine", "plan_devices"]
