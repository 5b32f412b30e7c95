/** The layering of docs/contributing/architecture.md: a package imports only what stands before it; apps never import each other, but their kit. */
const layers = {
  'packages/tensor-ops': [],
  'packages/moe': ['packages/tensor-ops'],
  'packages/dit': ['packages/tensor-ops', 'packages/moe'],
  'packages/diffusion': ['packages/tensor-ops'],
  'packages/data': ['packages/tensor-ops'],
  'packages/vae': ['packages/tensor-ops', 'packages/data'],
  'packages/metrics': ['packages/tensor-ops', 'packages/data'],
  'packages/models': [],
  'packages/pipeline': ['packages/tensor-ops', 'packages/moe', 'packages/dit', 'packages/diffusion', 'packages/vae', 'packages/data'],
};
const packages = Object.keys(layers);

module.exports = {
  forbidden: [
    ...packages.map((name) => ({
      name: `layers-of-${name.split('/')[1]}`,
      severity: 'error',
      from: { path: `^${name}/` },
      to: { path: '^(packages|apps)/', pathNot: [name, ...layers[name]].map((p) => `^${p}/`) },
    })),
    { name: 'kit-below-applications', severity: 'error', from: { path: '^apps/kit/' }, to: { path: '^apps/(?!kit/)' } },
    { name: 'trainer-without-sampler', severity: 'error', from: { path: '^apps/trainer/' }, to: { path: '^apps/sampler/' } },
    { name: 'sampler-without-trainer', severity: 'error', from: { path: '^apps/sampler/' }, to: { path: '^apps/trainer/' } },
    {
      name: 'no-node-modules-in-portable-code',
      comment: 'Packages must also bundle for a browser: node: imports only below a node/ folder.',
      severity: 'error',
      from: { path: '^packages/[^/]+/src/', pathNot: ['/node/', '\\.test\\.ts$', '/testing/'] },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'no-backend-in-libraries',
      comment: 'Libraries take tfjs-core as a peer; applications choose the backend.',
      severity: 'error',
      from: { path: '^packages/[^/]+/src/', pathNot: ['/node/', '\\.test\\.ts$', '/testing/'] },
      to: { path: 'node_modules/@tensorflow/(?!tfjs-core)' },
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(^|/)dist/' },
    tsPreCompilationDeps: false,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['@dit-moe/source', 'import', 'node', 'default'],
      extensions: ['.ts', '.js', '.mjs', '.cjs', '.json'],
    },
  },
};
