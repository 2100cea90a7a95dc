"""Python SDK 2 tries everything: features_py2.py URL PLAN auto|legacy|modern."""

import asyncio

from mcp import Client, types

from features import attempt_all, command_line, listed, members, rising


async def elicit(_context, params):
    return types.ElicitResult(action="accept", content=members(params.requested_schema))


async def sample(_context, _params):
    content = types.TextContent(type="text", text="Paris")
    return types.CreateMessageResult(role="assistant", model="none", content=content)


async def roots(_context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///home/alice", name="home")])


async def main():
    url, plan, mode = command_line()
    async with Client(
        url,
        mode="2026-07-28" if mode == "modern" else mode,
        elicitation_callback=elicit,
        sampling_callback=sample,
        list_roots_callback=roots,
    ) as client:

        async def call(what):
            return await client.call_tool(what["name"], what["arguments"])

        async def tools(what):
            listed([one.name for one in (await client.list_tools()).tools], what["name"])
            return await call(what)

        async def resources(what):
            found = (await client.list_resources()).resources
            listed([str(one.uri) for one in found], what["uri"])
            return await client.read_resource(what["uri"])

        async def prompts(what):
            listed([one.name for one in (await client.list_prompts()).prompts], what["name"])
            return await client.get_prompt(what["name"], what["arguments"])

        async def progress(what):
            seen = []

            async def note(done, _total, _message):
                seen.append(done)

            result = await client.call_tool(
                what["name"], what["arguments"], progress_callback=note
            )
            rising(seen, what["steps"])
            return result

        ways = {"tools": tools, "resources": resources, "prompts": prompts}
        ways |= {"progress": progress, "elicitation": call, "sampling": call, "roots": call}
        await attempt_all(plan, ways)


asyncio.run(main())
