"""What the Python scripts that try everything share: the order of things and the report."""

import json
import sys


def example(schema):
    """Something of the type that a schema names."""
    if "default" in schema:
        return schema["default"]
    if "enum" in schema:
        return schema["enum"][0]
    if "oneOf" in schema:
        return schema["oneOf"][0]["const"]
    return {"integer": 2, "number": 2, "boolean": True, "array": [], "object": {}}.get(
        schema.get("type"), "Alice"
    )


def members(schema):
    return {name: example(one) for name, one in (schema or {}).get("properties", {}).items()}


def text(model):
    """A result as JSON, whatever the library made of it."""
    if hasattr(model, "model_dump"):
        return json.dumps(model.model_dump(mode="json", by_alias=True, exclude_none=True))
    if isinstance(model, (list, tuple)):
        return "[" + ",".join(text(one) for one in model) + "]"
    return str(model)


async def attempt_all(plan, ways):
    """Runs each way whose feature is in the plan; {feature: "ok" or the reason}."""
    report = {}
    for feature, way in ways.items():
        what = plan.get(feature)
        if what is None:
            continue
        try:
            got = text(await way(what))
            report[feature] = "ok" if what["answer"] in got else f"no {what['answer']} in {got}"
        except BaseException as error:  # reported in its place; the next is still tried
            report[feature] = repr(error)
    print(json.dumps(report), flush=True)


def listed(names, wanted):
    if wanted not in names:
        raise ValueError(f"{wanted} is not listed")


def rising(seen, steps):
    if len(seen) < steps or seen != sorted(seen):
        raise ValueError(f"progress was {seen}")


def command_line():
    """URL, plan and mode."""
    url, plan, mode = sys.argv[1:4]
    return url, json.loads(plan), mode
