"""A server that asks its client for everything there is, on FastMCP 1, at 127.0.0.1:PORT/mcp.

It does the handshake and keeps sessions."""

import asyncio
import os

from mcp.server.fastmcp import Context, FastMCP
from mcp.types import SamplingMessage, TextContent
from pydantic import BaseModel

server = FastMCP(
    "features-py1", host="127.0.0.1", port=int(os.environ["PORT"]), log_level="WARNING"
)


class Person(BaseModel):
    name: str


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
async def ask_name(ctx: Context) -> str:
    """Asks the client."""
    said = await ctx.elicit("Who are you?", Person)
    return f"You are {said.data.name}."


@server.tool()
async def ask_model(ctx: Context) -> str:
    """Asks the client."""
    content = TextContent(type="text", text="capital?")
    message = SamplingMessage(role="user", content=content)
    said = await ctx.session.create_message(
        [message], max_tokens=10, related_request_id=ctx.request_id
    )
    return f"It says {said.content.text}."


@server.tool()
async def ask_roots(ctx: Context) -> str:
    """Asks the client."""
    return f"At {(await ctx.session.list_roots()).roots[0].uri}."


@server.resource("note://static", mime_type="text/plain")
def note() -> str:
    return "a static note"


@server.prompt()
def visit(city: str) -> str:
    """Plans a visit."""
    return f"Plan a visit to {city}."


server.run(transport="streamable-http")
