"""A server that asks its client all that FastMCP 4 can ask, at 127.0.0.1:PORT/mcp.

That is a form, and in the legacy era only, though it speaks both; it has neither sampling nor
roots."""

import asyncio
import os

from fastmcp import Context, FastMCP

server = FastMCP("features-fastmcp")


@server.tool
def greet(name: str) -> str:
    """Greets."""
    return f"Hello, {name}!"


@server.tool
async def count(steps: int, ctx: Context) -> str:
    """Counts up, slowly: mcp-remote lets a result overtake what came just before it."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps)
        await asyncio.sleep(0.2)
    return f"counted to {steps}"


@server.tool
async def ask_name(ctx: Context) -> str:
    """Asks the client."""
    return f"You are {(await ctx.elicit('Who are you?', str)).data}."


@server.resource("note://static", mime_type="text/plain")
def note() -> str:
    return "a static note"


@server.prompt
def visit(city: str) -> str:
    """Plans a visit."""
    return f"Plan a visit to {city}."


server.run(
    transport="http",
    host="127.0.0.1",
    port=int(os.environ["PORT"]),
    show_banner=False,
    log_level="WARNING",
)
