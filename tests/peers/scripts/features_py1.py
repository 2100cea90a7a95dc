"""Python SDK 1 tries everything: features_py1.py URL PLAN legacy."""

import asyncio

from mcp import ClientSession, types
from mcp.client.streamable_http import streamable_http_client
from pydantic import AnyUrl

from features import attempt_all, command_line, listed, members, rising


async def elicit(_context, params):
    return types.ElicitResult(action="accept", content=members(params.requestedSchema))


async def sample(_context, _params):
    content = types.TextContent(type="text", text="Paris")
    return types.CreateMessageResult(role="assistant", model="none", content=content)


async def roots(_context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///home/alice", name="home")])


async def main():
    url, plan, _mode = command_line()
    async with streamable_http_client(url) as (read, write, *_):
        async with ClientSession(
            read,
            write,
            elicitation_callback=elicit,
            sampling_callback=sample,
            list_roots_callback=roots,
        ) as session:
            await session.initialize()

            async def call(what):
                return await session.call_tool(what["name"], what["arguments"])

            async def tools(what):
                listed([one.name for one in (await session.list_tools()).tools], what["name"])
                return await call(what)

            async def resources(what):
                found = (await session.list_resources()).resources
                listed([str(one.uri) for one in found], what["uri"])
                return await session.read_resource(AnyUrl(what["uri"]))

            async def prompts(what):
                listed([one.name for one in (await session.list_prompts()).prompts], what["name"])
                return await session.get_prompt(what["name"], what["arguments"])

            async def progress(what):
                seen = []

                async def note(done, _total, _message):
                    seen.append(done)

                result = await session.call_tool(
                    what["name"], what["arguments"], progress_callback=note
                )
                rising(seen, what["steps"])
                return result

            ways = {"tools": tools, "resources": resources, "prompts": prompts}
            ways |= {"progress": progress, "elicitation": call, "sampling": call, "roots": call}
            await attempt_all(plan, ways)


asyncio.run(main())
