"""Values on their way between two processes that do not trust each other: plain data of built-in types, as
JSON.

Lists, strings, numbers, booleans and None are JSON's own; every other value is an object with one key, its
tag. A message is read strictly: an unknown tag, a wrong type or a broken reference is `Malformed`. Instances
of the classes that both sides have from the problem's own code (ListNode, TreeNode) cross as their
attributes, with shared and circular references.
"""

import json
import os
import sys

EXACT_INTEGERS = 1 << 53
MAX_ITEMS = 100_000  # of an iterator, which may have no end
HEADER_BYTES = 8
MAX_MESSAGE_BYTES = 64 << 20  # of a message
SCALARS = (int, str, float, bool, type(None))
VIEWS = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}
TYPES = {
    kind.__name__: kind for kind in (int, float, complex, bool, str, bytes, list, tuple, dict, set, frozenset)
}


class Malformed(Exception):
    """A message that an honest peer does not send."""


class NotPlainData(Exception):
    """A value that is not plain data. The text says what it is."""


class Opaque:
    """In the place of a value that is not plain data: true, equal to nothing, and of no other use."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"<{self.name}, which is not plain data>"


class Encoder:
    """One message in the making. `shapes` has the names of the classes whose instances may cross.

    `refuse` is called with what is not plain data; what it returns is sent in its place.
    """

    def __init__(self, shapes, refuse):
        self.shapes, self.refuse = shapes, refuse
        self.indices, self.instances = {}, []

    def message(self, head, *values):
        """JSON of [head, values, attributes of the instances in them]. Raises NotPlainData where `refuse`
        does.
        """
        plain = [self.plain(value) for value in values]
        attributes = []
        for instance in self.instances:  # grows meanwhile
            attributes.append([[name, self.plain(value)] for name, value in vars(instance).items()])
        return json.dumps([head, plain, attributes])

    def plain(self, value):
        kind = type(value)
        if value is None or kind is bool or kind is str or kind is float:
            return value
        if kind is int:
            return value if -EXACT_INTEGERS < value < EXACT_INTEGERS else {"int": hex(value)}
        if kind is list:
            return [self.plain(item) for item in value]
        if kind is tuple:
            return {"tuple": [self.plain(item) for item in value]}
        if kind is dict:
            return {"dict": [[self.plain(key), self.plain(item)] for key, item in value.items()]}
        if kind is set or kind is frozenset:
            return {kind.__name__: [self.plain(item) for item in value]}
        return self.less_common(value, kind)

    def less_common(self, value, kind):
        if kind.__name__ in self.shapes and isinstance(getattr(value, "__dict__", None), dict):
            return {"instance": [self.index_of(value), kind.__name__]}
        for base, convert in ((int, int), (float, float), (str, str.__str__), (tuple, tuple)):
            if isinstance(value, base):
                return self.plain(convert(value))
        if isinstance(value, complex):
            return {"complex": [value.real, value.imag]}
        if isinstance(value, bytes | bytearray):
            return {"bytearray" if isinstance(value, bytearray) else "bytes": value.hex()}
        if isinstance(value, range):
            return {"range": [self.plain(value.start), self.plain(value.stop), self.plain(value.step)]}
        for base in (list, dict, set, frozenset):
            if isinstance(value, base):
                return self.plain(base(value))
        if kind in VIEWS:
            return {VIEWS[kind]: [self.plain(item) for item in value]}
        if value is TYPES.get(getattr(value, "__name__", None)):
            return {"type": value.__name__}
        return self.from_library(value, kind)

    def from_library(self, value, kind):
        loaded = sys.modules.get
        if (fractions := loaded("fractions")) and isinstance(value, fractions.Fraction):
            return {"Fraction": [self.plain(value.numerator), self.plain(value.denominator)]}
        if (decimal := loaded("decimal")) and isinstance(value, decimal.Decimal):
            return {"Decimal": str(value)}
        if (collections := loaded("collections")) and isinstance(value, collections.deque):
            return {"deque": [[self.plain(item) for item in value], value.maxlen]}
        if hasattr(kind, "__next__"):
            items = []
            for item in value:
                if len(items) == MAX_ITEMS:
                    return {"iterator": [items, False]}
                items.append(self.plain(item))
            return {"iterator": [items, True]}
        return self.refuse(value)

    def index_of(self, instance):
        """Its number in this message: the same instance, the same number."""
        index = self.indices.setdefault(id(instance), len(self.instances))
        if index == len(self.instances):
            self.instances.append(instance)
        return index


class Decoder:
    """Reads messages. `shapes`: {name: class} of the instances that may be in them; others become Opaque."""

    def __init__(self, shapes):
        self.shapes = shapes
        self.instances = {}

    def message(self, text):
        """(head, values). Raises Malformed."""
        self.instances = {}
        try:
            head, values, attributes = json.loads(text, object_hook=self.tagged)
            _checked(head, list), _checked(values, list), _checked(attributes, list)
            for index, instance in self.instances.items():
                for name, value in attributes[index]:
                    instance.__dict__[_checked(name, str)] = value
        except (
            ValueError,
            TypeError,
            KeyError,
            IndexError,
            ArithmeticError,
            RecursionError,
            AttributeError,
        ) as error:
            raise Malformed(str(error)) from None
        return head, values

    def tagged(self, crossed):
        ((tag, value),) = crossed.items()
        if tag == "instance":
            return self.instance(*value)
        return READERS[tag](value)

    def instance(self, index, name):
        if _checked(index, int) not in self.instances:
            kind = self.shapes.get(_checked(name, str))
            if kind is None:
                return Opaque(name)
            self.instances[index] = object.__new__(kind)
        return self.instances[index]


def _checked(value, kind):
    if type(value) is not kind:
        raise TypeError(f"not a {kind.__name__}")
    return value


def _pairs(items):
    return [(key, value) for key, value in items]


def _replay(items, whole):
    yield from items
    if not whole:
        raise RuntimeError(f"an iterator of more than {MAX_ITEMS} items")


def _decimal(text):
    import decimal

    return decimal.Decimal(_checked(text, str))


def _fraction(parts):
    import fractions

    return fractions.Fraction(*(_checked(part, int) for part in parts))


def _deque(parts):
    import collections

    return collections.deque(*parts)


READERS = {
    "int": lambda text: int(_checked(text, str), 16),
    "complex": lambda parts: complex(*(_checked(part, float) for part in parts)),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "dict": lambda items: dict(_pairs(items)),
    "keys": lambda items: dict.fromkeys(items).keys(),
    "values": lambda items: dict(enumerate(items)).values(),
    "items": lambda items: dict(items).items(),
    "range": lambda parts: range(*(_checked(part, int) for part in parts)),
    "iterator": lambda parts: _replay(_checked(parts[0], list), parts[1] is True),
    "type": TYPES.__getitem__,
    "Fraction": _fraction,
    "Decimal": _decimal,
    "deque": _deque,
    "opaque": lambda name: Opaque(_checked(name, str)),
}


def update_in_place(old, new):
    """Give containers and instances the contents of their later copies, keeping their identity."""
    waiting, done = [(old, new)], set()
    while waiting:
        old, new = waiting.pop()
        if (id(old), id(new)) in done:
            continue
        done.add((id(old), id(new)))
        if type(old) is list:
            old[:] = [_updated(before, after, waiting) for before, after in _side_by_side(old, new)]
        elif type(old) is dict:
            fresh = {key: _updated(old.get(key), value, waiting) for key, value in new.items()}
            old.clear()
            old.update(fresh)
        elif type(old) is tuple:
            waiting.extend(pair for pair in zip(old, new) if _same_kind(*pair))  # noqa: B905
        elif isinstance(old, bytearray):
            old[:] = new
        elif type(old) is set:
            old.clear()
            old.update(new)
        elif hasattr(old, "append"):  # a deque
            old.clear()
            old.extend(new)
        elif hasattr(old, "__dict__"):
            fresh = {
                key: _updated(old.__dict__.get(key), value, waiting) for key, value in new.__dict__.items()
            }
            old.__dict__.clear()
            old.__dict__.update(fresh)


def _side_by_side(old, new):
    return [(old[index] if index < len(old) else None, item) for index, item in enumerate(new)]


def _same_kind(before, after):
    return type(before) is type(after) and not isinstance(before, SCALARS)


def _updated(before, after, waiting):
    """The old object, to be updated in place, if its successor has the same type; else the successor."""
    if not _same_kind(before, after) or hasattr(before, "__next__"):
        return after
    waiting.append((before, after))
    return before


def send(descriptor, text):
    """Write a message, with its size before it. Raises OSError where nobody reads."""
    data = text.encode("ascii")
    data = len(data).to_bytes(HEADER_BYTES, "little") + data
    while data:
        data = data[os.write(descriptor, data) :]


def receive(descriptor, max_bytes):
    """The next message; None where the other side has closed its end. Raises Malformed."""
    header = _read(descriptor, HEADER_BYTES)
    size = int.from_bytes(header, "little")
    if len(header) < HEADER_BYTES:
        return None
    if size > max_bytes:
        raise Malformed(f"a message of {size} bytes")
    text = _read(descriptor, size)
    return text if len(text) == size else None


def _read(descriptor, size):
    """`size` bytes, or fewer at the end of the input."""
    data = os.read(descriptor, size)
    if len(data) in (0, size):
        return data
    parts, missing = [data], size - len(data)
    while missing and (data := os.read(descriptor, min(missing, 1 << 20))):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)
