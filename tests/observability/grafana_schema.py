"""A dashboard held against Grafana's own schemas, as its generated types (`grafana-foundation-sdk`) have them."""

import enum
import json
import types
import typing

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

register_default_plugins()


def faults(dashboard):
    """What Grafana would pass over or not understand: members that no schema has, and values that are none of theirs. The
    options of panels, their fields and their queries are read by the schemas of their types."""
    read = Dashboard.from_json(json.loads(json.dumps(dashboard)))
    written = json.loads(JSONEncoder().encode(read))
    return [*missing(dashboard, written, ""), *wrong(read, Dashboard, "")]


def missing(ours, theirs, path):
    """What is lost, or another, once Grafana's types have read it and written it again. They add what is usual."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name, value in ours.items():
            if name in theirs:
                yield from missing(value, theirs[name], f"{path}.{name}")
            else:
                yield f"{path}.{name} is no member"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for n, (one, other) in enumerate(zip(ours, theirs)):
            yield from missing(one, other, f"{path}[{n}]")
    elif ours != theirs:
        yield f"{path} is {ours!r}, and was read as {theirs!r}"


def wrong(value, hint, path):
    """Values that are not of the type that the schema gives them."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        found = [list(wrong(value, one, path)) for one in inner]
        if all(found):
            yield from min(found, key=len)
    elif origin is list:
        if not isinstance(value, list):
            yield f"{path} is {value!r}, and should be a list"
            return
        for n, one in enumerate(value):
            yield from wrong(one, inner[0], f"{path}[{n}]")
    elif origin is dict:
        if not isinstance(value, dict):
            yield f"{path} is {value!r}, and should be an object"
            return
        for name, one in value.items():
            yield from wrong(one, inner[1], f"{path}.{name}")
    elif origin is typing.Literal:
        if value not in inner:
            yield f"{path} is {value!r}, and should be {' or '.join(map(repr, inner))}"
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        if value not in [one.value for one in hint]:
            yield f"{path} is {value!r}, and should be one of {[one.value for one in hint]}"
    elif hint in (str, bool, int, float):
        fits = {str: str, bool: bool, int: int, float: (int, float)}[hint]
        if not isinstance(value, fits) or hint is not bool and isinstance(value, bool):
            yield f"{path} is {value!r}, and should be of the type {hint.__name__}"
    elif hint is type(None):
        if value is not None:
            yield f"{path} is {value!r}, and should not be there"
    elif hasattr(value, "to_json"):
        for name, kind in typing.get_type_hints(type(value)).items():
            # What is not said gets the usual value.
            if getattr(value, name) is not None:
                yield from wrong(getattr(value, name), kind, f"{path}.{name}")
