"""The client of FastMCP 4 tries everything: features_fastmcp.py URL PLAN auto|legacy|modern."""

import asyncio

from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult

from features import attempt_all, command_line, listed, members, rising


async def elicit(_message, _response_type, params, _context):
    return ElicitResult(action="accept", content=members(params.requested_schema))


async def sample(_messages, _params, _context):
    return "Paris"


async def main():
    url, plan, mode = command_line()
    async with Client(
        url,
        mode="2026-07-28" if mode == "modern" else mode,
        elicitation_handler=elicit,
        sampling_handler=sample,
        roots=["file:///home/alice"],
    ) as client:

        async def call(what):
            return (await client.call_tool(what["name"], what["arguments"])).content

        async def tools(what):
            listed([one.name for one in await client.list_tools()], what["name"])
            return await call(what)

        async def resources(what):
            listed([str(one.uri) for one in await client.list_resources()], what["uri"])
            return await client.read_resource(what["uri"])

        async def prompts(what):
            listed([one.name for one in await client.list_prompts()], what["name"])
            return await client.get_prompt(what["name"], what["arguments"])

        async def progress(what):
            seen = []

            async def note(done, _total, _message):
                seen.append(done)

            result = await client.call_tool(
                what["name"], what["arguments"], progress_handler=note
            )
            rising(seen, what["steps"])
            return result.content

        ways = {"tools": tools, "resources": resources, "prompts": prompts}
        ways |= {"progress": progress, "elicitation": call, "sampling": call, "roots": call}
        await attempt_all(plan, ways)


asyncio.run(main())
