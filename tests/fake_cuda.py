"""GPUs where there is none: tensors of the CPU that behave as if they were on one.

They keep torch's rules, so that what breaks on a GPU breaks here. Tensors of different devices do
not mix; numpy gets none of a GPU; memory ends; a copy that nobody waits for has not been made;
ASTRA and Triton take tensors of the current GPU alone.
"""

import sys
import threading
import weakref
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import torch
from fake_astra import FakeAstra, kernel, line_integrals
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from tomofilt.projectors import gpu as gpu_module
from tomofilt.projectors import select

CPU = torch.device("cpu")
#: What takes tensors of several devices.
MIXING = {torch.Tensor.copy_, torch.Tensor.to, torch.Tensor.__setitem__}


class GpuTensor(torch.Tensor):
    """A tensor of the CPU that says it is on a GPU."""

    where = CPU

    @property
    def device(self):
        return self.where

    def numpy(self):
        raise TypeError(f"can't convert {self.where} device type tensor to numpy")

    def record_stream(self, stream):
        assert stream.device == self.where

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        raise AssertionError(f"{func} in a thread that knows no GPU")


class Stream:
    """Copies to the host that have been asked for and not been waited for."""

    def __init__(self, device):
        self.device, self.pending = torch.device(device), []

    def synchronize(self):
        while self.pending:
            self.pending.pop(0)()

    def wait_stream(self, other):
        assert other.device == self.device

    def record_event(self):
        return SimpleNamespace(synchronize=self.synchronize)


class FakeCuda(TorchFunctionMode):
    """Some GPUs, and torch.cuda as far as tomofilt and its bench use it."""

    def __init__(self, gpus, memory):
        super().__init__()
        self.gpus, self.memory = gpus, memory
        #: Called with the number of the current GPU where memory of the host is locked for it.
        self.pin = lambda gpu: None
        self.streams = [Stream(f"cuda:{gpu}") for gpu in range(gpus)]
        self._alive, self._lock, self._now = weakref.WeakSet(), threading.Lock(), threading.local()

    def index(self, device=None):
        index = torch.device(device).index if device is not None else None
        return self.current() if index is None else index

    def current(self):
        return getattr(self._now, "gpu", 0)

    def current_stream(self, device=None):
        return getattr(self._now, "stream", None) or self.streams[self.index(device)]

    @contextmanager
    def now(self, **what):
        before = dict(vars(self._now))
        vars(self._now).update(what)
        yield
        vars(self._now).clear()
        vars(self._now).update(before)

    def used(self, device):
        with self._lock, torch._C.DisableTorchFunctionSubclass():
            here = [each for each in self._alive if each.where.index == self.index(device)]
            storages = [each.untyped_storage() for each in here]
            return sum({each.data_ptr(): each.nbytes() for each in storages}.values())

    def mem_get_info(self, device=None):
        return self.memory - self.used(device), self.memory

    def put(self, tensor, where):
        """The tensor as one of a GPU."""
        tensor = tensor.as_subclass(GpuTensor)
        tensor.where = where
        with self._lock:
            self._alive.add(tensor)
        if self.used(where) > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return tensor

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        with torch._C.DisableTorchFunctionSubclass():
            devices = [tensor.device for tensor in given if tensor.ndim or tensor.device != CPU]
            where = devices[0] if devices else CPU
            # tomofilt's operators take the table of a geometry from anywhere
            mixes = func in MIXING or "tomofilt" in str(func)
            if len(set(devices)) > 1 and not mixes:
                raise RuntimeError(f"{func}: tensors on {devices}, expected one device")
            if func is torch.Tensor.copy_ and kwargs.pop("non_blocking", False):
                self.current_stream(where).pending.append(lambda: args[0].copy_(args[1]))
                return args[0]
            if func is torch.Tensor.to:
                where, args, kwargs = self._destination(where, args, kwargs)
            elif func is torch.Tensor.cpu:
                where = CPU
            elif "device" in kwargs:
                where, kwargs["device"] = self._device(kwargs["device"]), CPU
            if kwargs.pop("pin_memory", False):
                assert where == CPU
                self.pin(self.current())
            result = func(*args, **kwargs)

            def placed(leaf):
                if not isinstance(leaf, torch.Tensor) or isinstance(leaf, GpuTensor):
                    return leaf
                return leaf if where == CPU else self.put(leaf, where)

            if where == CPU and isinstance(result, GpuTensor):
                return result.as_subclass(torch.Tensor).clone()
            return tree_map(placed, result)

    def _destination(self, where, args, kwargs):
        """Where ``Tensor.to`` leads, and what is left of its arguments on a CPU."""
        source, *rest = args
        left = []
        for what in (*rest, *kwargs.values()):
            if isinstance(what, torch.Tensor):
                where = what.device
                left.append(what.dtype)
            elif isinstance(what, torch.dtype):
                left.append(what)
            else:
                where = self._device(what)
        plain = source.as_subclass(torch.Tensor)
        if where != source.device:
            plain = plain.clone()  # other memory
        return where, (plain, *(left or [plain.dtype])), {}

    def _device(self, device):
        device = torch.device(device)
        if device.type == "cuda" and device.index is None:
            return torch.device("cuda", self.current())
        return device


class FakeKernel:
    """A kernel of Triton's in its interpreter, which knows no GPU."""

    def __init__(self, kernel, cuda):
        self._kernel, self._cuda = kernel, cuda

    def __getitem__(self, grid):
        def launch(*args, **kwargs):
            self._kernel[grid](*(self._plain(each) for each in args), **kwargs)

        return launch

    def _plain(self, given):
        if not isinstance(given, torch.Tensor):
            return given
        assert given.device == torch.device("cuda", self._cuda.current())
        return given.as_subclass(torch.Tensor)


class AstraOnGpus(FakeAstra):
    """The stand-in for ASTRA, given tensors of a GPU as torch exports them."""

    __version__ = "2.5.0"

    def __init__(self, cuda):
        super().__init__()
        self._cuda = cuda
        self.features = {"cuda"}
        self.has_feature = self.features.__contains__
        self.projector3d.direct_BP = self.direct_bp
        self.projector3d.direct_FP = self.direct_fp

    def use_cuda(self):
        return True

    def exported(self, tensor):
        if tensor.device != torch.device("cuda", self._cuda.current()):
            raise BufferError("Can't export tensors on a different CUDA device index")
        return tensor.as_subclass(torch.Tensor)

    def link(self, kind, geometry, tensor):
        return super().link(kind, geometry, self.exported(tensor))

    def direct_bp(self, number, band, out):
        volume = kernel(*self.geometries[number], self.exported(band).numpy())
        self.exported(out).copy_(torch.from_numpy(volume))

    def direct_fp(self, number, volume, out):
        images = line_integrals(*self.geometries[number], self.exported(volume).numpy())
        self.exported(out).copy_(torch.from_numpy(images))


@contextmanager
def install(monkeypatch, gpus=2, memory=2**30):
    """Put GPUs, ASTRA and Triton's interpreter in their places."""
    from tomofilt.projectors import triton_slice

    cuda = FakeCuda(gpus, memory)
    cuda.astra = astra = AstraOnGpus(cuda)
    monkeypatch.setitem(sys.modules, "astra", astra)
    monkeypatch.setitem(sys.modules, "astra.experimental", astra.experimental)
    # its operators would hand what is no GPU's to the real ASTRA, which ends the process
    monkeypatch.setitem(sys.modules, "tomosipo", None)
    for name in ("gather_images", "gather_voxels"):
        kernel = getattr(triton_slice, name)
        monkeypatch.setattr(triton_slice, name, FakeKernel(kernel, cuda))
    monkeypatch.setattr(triton_slice, "BLOCK", (64, 64))
    monkeypatch.setattr(gpu_module, "DRIVER_FILES", (Path("/"),))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    for name, stand_in in {
        "is_available": lambda: True,
        "device_count": lambda: gpus,
        "current_device": cuda.current,
        "device": lambda device: cuda.now(gpu=cuda.index(device)),
        "Stream": Stream,
        "stream": lambda stream: cuda.now(stream=stream),
        "current_stream": cuda.current_stream,
        "synchronize": lambda device=None: cuda.streams[cuda.index(device)].synchronize(),
        "empty_cache": lambda: None,
        "mem_get_info": cuda.mem_get_info,
        "memory_reserved": cuda.used,
        "memory_allocated": cuda.used,
        "get_device_name": lambda device=None: "a GPU of the tests",
        "get_device_properties": lambda device: SimpleNamespace(
            name="a GPU of the tests", total_memory=memory, major=9, minor=0
        ),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    run = threading.Thread.run

    def run_with_gpus(thread):
        with cuda:
            run(thread)

    monkeypatch.setattr(threading.Thread, "run", run_with_gpus)
    kept = gpu_module.problem, gpu_module.triton_problem, select.unusable
    try:
        for each in kept:
            each.cache_clear()
        with cuda:
            yield cuda
    finally:
        for each in kept:
            each.cache_clear()
