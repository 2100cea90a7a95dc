"""A server that asks its client for everything there is, on Python SDK 2, at 127.0.0.1:PORT/mcp.

It speaks both eras, and answers `input_required` in the modern one."""

import asyncio
import os
from typing import Annotated

from mcp.server.mcpserver import Context, Elicit, ListRoots, MCPServer, Resolve, Sample
from mcp.types import CreateMessageResult, ListRootsResult, SamplingMessage, TextContent
from pydantic import BaseModel

server = MCPServer("features-py2", log_level="WARNING")


class Person(BaseModel):
    name: str


def who() -> Elicit[Person]:
    return Elicit("Who are you?", Person)


def capital() -> Sample:
    content = TextContent(type="text", text="capital?")
    return Sample([SamplingMessage(role="user", content=content)], max_tokens=10)


def where() -> ListRoots:
    return ListRoots()


@server.tool()
def greet(name: str) -> str:
    """Greets."""
    return f"Hello, {name}!"


@server.tool()
async def count(steps: int, ctx: Context) -> str:
    """Counts up, slowly: mcp-remote lets a result overtake what came just before it."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps)
        await asyncio.sleep(0.2)
    return f"counted to {steps}"


@server.tool()
def ask_name(person: Annotated[Person, Resolve(who)]) -> str:
    """Asks the client."""
    return f"You are {person.name}."


@server.tool()
def ask_model(said: Annotated[CreateMessageResult, Resolve(capital)]) -> str:
    """Asks the client."""
    return f"It says {said.content.text}."


@server.tool()
def ask_roots(listed: Annotated[ListRootsResult, Resolve(where)]) -> str:
    """Asks the client."""
    return f"At {listed.roots[0].uri}."


@server.resource("note://static", mime_type="text/plain")
def note() -> str:
    return "a static note"


@server.prompt()
def visit(city: str) -> str:
    """Plans a visit."""
    return f"Plan a visit to {city}."


server.run(transport="streamable-http", host="127.0.0.1", port=int(os.environ["PORT"]))
