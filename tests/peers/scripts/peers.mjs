// What the scripts of this folder share: packages are found in the cache that install.sh filled
// (VMCP_PEERS), not beside the scripts.
import { createRequire } from 'node:module';
import { join } from 'node:path';

const folder = process.env.VMCP_PEERS;
if (!folder) throw new Error('VMCP_PEERS must name the folder that install.sh printed');

export const load = createRequire(join(folder, 'npm', 'package.json'));

// `script URL CALLS [--name value]...`, where CALLS is a JSON list of [tool, arguments].
export function commandLine() {
  const words = process.argv.slice(2);
  const options = {};
  const plain = [];
  for (let i = 0; i < words.length; i += 1) {
    if (words[i].startsWith('--')) {
      options[words[i].slice(2)] = words[i + 1];
      i += 1;
    } else {
      plain.push(words[i]);
    }
  }
  const [url, calls = '[]'] = plain;
  return { url: new URL(url), calls: JSON.parse(calls), options };
}

// Lists every page, makes the calls one after the other, prints one line of JSON. A call that
// fails is reported in its place and does not keep the next ones from being made.
export async function report(client, calls) {
  const tools = [];
  let cursor;
  do {
    const page = await client.listTools(cursor === undefined ? {} : { cursor });
    tools.push(...page.tools.map((entry) => entry.name));
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  const results = [];
  for (const [name, given] of calls) {
    try {
      results.push(await client.callTool({ name, arguments: given }));
    } catch (error) {
      results.push({ failed: String(error) });
    }
  }
  process.stdout.write(`${JSON.stringify({ tools, results })}\n`);
}

// Something of the type that a schema names.
function example(schema) {
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  switch (schema.type) {
    case 'number':
    case 'integer':
      return 2;
    case 'boolean':
      return true;
    case 'array':
      return [];
    case 'object':
      return {};
    case 'null':
      return null;
    default:
      return 'Alice';
  }
}

export function members(schema) {
  const properties = Object.entries(schema?.properties ?? {});
  return Object.fromEntries(properties.map(([name, one]) => [name, example(one)]));
}
