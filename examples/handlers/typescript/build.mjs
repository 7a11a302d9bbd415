// Bundles notifier.ts and makes a component of it: node build.mjs OUT
import { writeFile } from 'node:fs/promises';
import { componentize } from 'componentize-qjs';
import { build } from 'esbuild';

// A promise would be taken for an empty answer, as if all were well.
const entry = `
  import { handler as own } from './notifier.ts';
  const now = (name) => (...given) => {
    const answer = own[name](...given);
    if (typeof answer?.then === 'function') throw new TypeError(name + ' answers a promise; make it no async function');
    return answer;
  };
  export const handler = { describe: now('describe'), configure: now('configure'), send: now('send') };`;
const bundle = await build({
  stdin: { contents: entry, resolveDir: '.' },
  bundle: true,
  format: 'esm',
  external: ['postrider:*', 'wasi:*'],
  write: false,
});
const { component } = await componentize({
  jsSource: bundle.outputFiles[0].text,
  witPath: 'wit',
  world: 'notifier',
  sync: true,
});
await writeFile(process.argv[2], component);
