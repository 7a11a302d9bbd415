// Bundles notifier.ts and makes a component of it: node build.mjs OUT
import { writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';
import { build } from 'esbuild';

const bundle = await build({
  entryPoints: ['notifier.ts'],
  bundle: true,
  format: 'esm',
  external: ['postrider:*', 'wasi:*'],
  write: false,
});
const { component } = await componentize(bundle.outputFiles[0].text, {
  sourceName: 'notifier.ts',
  witPath: 'wit',
  worldName: 'notifier-wasi',
});
await writeFile(process.argv[2], component);
