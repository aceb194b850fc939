"""A reader for the pickles of TorchScript archives that cannot name a Python object.

Python's own ``pickle`` builds whatever the stream asks for. This one knows the opcodes that
``torch/csrc/jit/serialization/pickler.cpp`` writes, and the few names that they refer to; each has a fixed meaning
here, all others are refused. Nothing is imported, looked up or called by name. Work and memory are bounded by the
length of the stream: what is built is never larger than the bytes that describe it, shared parts counted once.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from mlcommons_py.errors import InvalidModel

MAX_NAME = 512
_MAX_OPERATIONS = 4_000_000
_MAX_MARKS = 10_000
_LISTS = tuple(f"torch.jit._pickle.build_{kind}list" for kind in ("int", "double", "bool", "tensor"))
_TENSOR = "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"
_DICT = "collections.OrderedDict"
_TAG = "torch.jit._pickle.restore_type_tag"
_FUNCTIONS = frozenset((*_LISTS, _TENSOR, _PARAMETER, _DICT, _TAG))


class Name(NamedTuple):
    """A dotted name that the stream refers to: a class of the archive, a storage type, or one of the functions."""

    path: str


class Instance:
    """An object of one of the archive's classes: ``class_name`` and ``attributes``, nothing more."""

    __slots__ = ("attributes", "class_name")

    def __init__(self, class_name: str) -> None:
        self.class_name = class_name
        self.attributes: dict[str, Any] = {}


class Malformed(InvalidModel):
    """The stream is not one that TorchScript writes."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"the TorchScript archive is malformed or unsafe: {fault}")


def load(stream: bytes, persistent: Callable[[Any], object], rebuild: Callable[[tuple[Any, ...]], object]) -> object:
    """Return the value that a stream describes.

    Args:
        stream: the pickle, protocol 2 to 4.
        persistent: turns a persistent id, a value of the stream, into a storage.
        rebuild: turns the arguments of ``_rebuild_tensor_v2`` into a tensor.

    Raises:
        Malformed: the stream has an opcode or a name that is not allowed, or is damaged.
    """
    return _Machine(stream, persistent, rebuild).run()


class _Machine:
    """The pickle machine: a stack, marks into it, and a memo."""

    def __init__(
        self, stream: bytes, persistent: Callable[[Any], object], rebuild: Callable[[tuple[Any, ...]], object]
    ) -> None:
        self._stream = stream
        self._at = 0
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._persistent = persistent
        self._rebuild = rebuild

    def run(self) -> object:
        for _ in range(_MAX_OPERATIONS):
            opcode = self.take(1)[0]
            if opcode == 0x2E:  # STOP
                return self.end()
            operation = _OPERATIONS.get(opcode)
            if operation is None:
                raise Malformed(f"pickle opcode 0x{opcode:02x} is not allowed")
            operation(self)
        raise Malformed("the pickle is too long")

    def end(self) -> object:
        value = self.pop()
        if self._stack or self._marks or self._stream[self._at :].strip(b"\0"):
            raise Malformed("the pickle goes on behind its end")
        return value

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._stream):
            raise Malformed("the pickle is truncated")
        taken = self._stream[self._at : end]
        self._at = end
        return taken

    def number(self, count: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(count), "little", signed=signed)

    def text(self, count: int) -> str:
        return _decoded(self.take(count))

    def line(self) -> str:
        end = self._stream.find(b"\n", self._at, self._at + MAX_NAME)
        if end < 0:
            raise Malformed("a name does not end")
        line = self._stream[self._at : end]
        self._at = end + 1
        return _decoded(line)

    def push(self, value: object) -> None:
        self._stack.append(value)

    def floor(self) -> int:
        return self._marks[-1] if self._marks else 0

    def pop(self) -> Any:
        if len(self._stack) <= self.floor():
            raise Malformed("the pickle takes more than it has")
        return self._stack.pop()

    def top(self) -> Any:
        if len(self._stack) <= self.floor():
            raise Malformed("the pickle takes more than it has")
        return self._stack[-1]

    def mark(self) -> None:
        if len(self._marks) >= _MAX_MARKS:
            raise Malformed("the pickle is nested too deeply")
        self._marks.append(len(self._stack))

    def marked(self) -> list[Any]:
        if not self._marks:
            raise Malformed("the pickle has no mark")
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def protocol(self) -> None:
        if self.number(1) > 4:
            raise Malformed("the pickle has an unknown protocol")

    def real(self) -> None:
        self.push(struct.unpack(">d", self.take(8))[0])

    def whole(self) -> None:
        count = self.number(1)
        if count > 8:
            raise Malformed("a number is too large")
        self.push(self.number(count, signed=True))

    def refer(self) -> None:
        path = f"{self.line()}.{self.line()}"
        storage = path.startswith("torch.") and path.endswith("Storage") and path.count(".") == 1
        if not (storage or path in _FUNCTIONS or path.startswith("__torch__.")):
            raise Malformed(f"the name {path[:100]!r} is not allowed")
        self.push(Name(path))

    def put(self, count: int) -> None:
        self._memo[self.number(count)] = self.top()

    def get(self, count: int) -> None:
        index = self.number(count)
        if index not in self._memo:
            raise Malformed("the pickle refers to what it did not keep")
        self.push(self._memo[index])

    def group(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def resolve(self) -> object:
        return self._persistent(self.pop())

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if type(function) is not Name or type(arguments) is not tuple:
            raise Malformed("the pickle calls what is no function")
        self.push(self.call(function.path, arguments))

    def call(self, path: str, arguments: tuple[Any, ...]) -> object:
        if path == _TENSOR:
            return self._rebuild(arguments)
        if path == _DICT and not arguments:
            return {}
        if path == _PARAMETER and arguments:
            return arguments[0]
        if path == _TAG and len(arguments) == 2:
            return arguments[0]
        if path in _LISTS and len(arguments) == 1 and isinstance(arguments[0], list):
            return arguments[0]
        raise Malformed(f"the pickle calls {path[:100]!r} with {len(arguments)} arguments")

    def new(self) -> None:
        arguments, name = self.pop(), self.pop()
        if type(name) is not Name or not name.path.startswith("__torch__.") or arguments != ():
            raise Malformed("the pickle makes an object of a foreign class")
        self.push(Instance(name.path))

    def build(self) -> None:
        state, instance = self.pop(), self.top()
        if type(instance) is not Instance or type(state) is not dict or not all(type(key) is str for key in state):
            raise Malformed("the pickle changes what is no object of the archive")
        instance.attributes = state

    def set_items(self, values: list[Any]) -> None:
        target = self.top()
        keys = values[::2]
        if type(target) is not dict or len(values) % 2 or not all(type(key) in (str, int) for key in keys):
            raise Malformed("the pickle fills what is no dictionary")
        target.update(zip(keys, values[1::2], strict=True))

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if type(target) is not list:
            raise Malformed("the pickle fills what is no list")
        target.extend(values)

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as fault:
        raise Malformed("a text is not UTF-8") from fault


_OPERATIONS: dict[int, Callable[[_Machine], None]] = {
    0x80: _Machine.protocol,
    0x28: _Machine.mark,
    0x63: _Machine.refer,
    0x71: lambda machine: machine.put(1),
    0x72: lambda machine: machine.put(4),
    0x68: lambda machine: machine.get(1),
    0x6A: lambda machine: machine.get(4),
    0x4B: lambda machine: machine.push(machine.number(1)),
    0x4D: lambda machine: machine.push(machine.number(2)),
    0x4A: lambda machine: machine.push(machine.number(4, signed=True)),
    0x8A: _Machine.whole,
    0x47: _Machine.real,
    0x58: lambda machine: machine.push(machine.text(machine.number(4))),
    0x8C: lambda machine: machine.push(machine.text(machine.number(1))),
    0x4E: lambda machine: machine.push(None),
    0x88: lambda machine: machine.push(True),
    0x89: lambda machine: machine.push(False),
    0x29: lambda machine: machine.push(()),
    0x5D: lambda machine: machine.push([]),
    0x7D: lambda machine: machine.push({}),
    0x74: lambda machine: machine.push(tuple(machine.marked())),
    0x85: lambda machine: machine.group(1),
    0x86: lambda machine: machine.group(2),
    0x87: lambda machine: machine.group(3),
    0x51: lambda machine: machine.push(machine.resolve()),
    0x52: _Machine.reduce,
    0x81: _Machine.new,
    0x62: _Machine.build,
    0x73: _Machine.set_item,
    0x75: lambda machine: machine.set_items(machine.marked()),
    0x61: lambda machine: machine.append([machine.pop()]),
    0x65: lambda machine: machine.append(machine.marked()),
}
"""By number; the names are in Python's ``pickletools``."""
