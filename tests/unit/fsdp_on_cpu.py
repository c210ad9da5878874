"""The training process with FSDP on processors, which accelerate prepares for GPUs only: `-m fsdp_on_cpu JOBS`."""

import runpy

from accelerate import state
from accelerate.utils import DistributedType

prepare = state.AcceleratorState.__init__


def prepare_here(self, *args, fsdp_plugin=None, **kwargs):
    prepare(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:  # as it does for MULTI_GPU
        self.distributed_type = DistributedType.FSDP
        if self.mixed_precision != "no":
            fsdp_plugin.set_mixed_precision(self.mixed_precision)
        self.fsdp_plugin = fsdp_plugin
        state.PartialState._shared_state["distributed_type"] = DistributedType.FSDP


if __name__ == "__main__":
    state.AcceleratorState.__init__ = prepare_here
    runpy.run_module("medpsy.training.worker", run_name="__main__")
