/** Schemas of the API, which check requests and make its OpenAPI description. */
import { guidanceRules, solvers } from '@dit-moe/diffusion';
import { z } from 'zod';
import { limits } from './protocol.js';

/** Body of `POST /api/samples`. Classes and models are checked against what is there. */
export const sampleRequestSchema = z.strictObject({
  model: z.string().min(1).max(200).describe('`id` of one of the models of `/api/models`'),
  labels: z
    .array(z.number().int().nonnegative())
    .min(1)
    .max(limits.images)
    .describe('class of each image; image `i` has the noise of (seed, i)'),
  seed: z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER).default(0),
  solver: z
    .enum(Object.keys(solvers) as [string, ...string[]])
    .optional()
    .describe("default: the model's"),
  steps: z.number().int().min(1).max(limits.steps).optional().describe("default: the solver's own"),
  guidance: z.number().min(-limits.guidance).max(limits.guidance).optional().describe("guidance scale; 1 for none (default: the model's)"),
  guidanceRule: z
    .string()
    .max(200)
    .optional()
    .describe(
      `rule of guidance: ${Object.keys(guidanceRules).join(', ')}, with numbers as apg:momentum=-0.5 (default: the model's, else cfg)`,
    ),
  guideWith: z
    .string()
    .max(200)
    .optional()
    .describe('a weaker model to guide with, one of the `guides` of the model (default: the model without its label)'),
  interval: z
    .tuple([z.number().min(0).max(1), z.number().min(0).max(1)])
    .refine(([from, to]) => from <= to, 'expected [from, to] with from <= to')
    .optional()
    .describe('times in which guidance applies, 1 is noise'),
});

const bytes = z.string().describe('base64');
const modelSchema = z.object({
  id: z.string(),
  name: z.string(),
  step: z.number().int(),
  classNames: z.array(z.string()),
  height: z.number().int(),
  width: z.number().int(),
  channels: z.number().int(),
  grid: z.tuple([z.number().int(), z.number().int()]).describe('patches per column and row'),
  layers: z.number().int(),
  experts: z.number().int(),
  router: z.string(),
  expertsPerPatch: z.array(z.number()),
  expertsVary: z.boolean(),
  guided: z.boolean().describe('whether other guidance scales than 1 are possible without a second model'),
  guides: z.array(z.string()).describe('models that it can be guided with'),
  defaults: z
    .object({ solver: z.string(), steps: z.number().int(), guidance: z.number(), guidanceRule: z.string().optional() })
    .describe('unless a request says otherwise'),
});
const eventSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('queued'), position: z.number().int() }),
  z.object({
    type: z.literal('step'),
    step: z.number().int(),
    steps: z.number().int(),
    time: z.number(),
    pixels: bytes.describe('the clean images as predicted now: bytes [B, height, width, channels] in base64'),
    height: z.number().int(),
    width: z.number().int(),
    channels: z.number().int(),
    experts: bytes
      .optional()
      .describe('experts of every patch, best first: bytes [layers, B, patches, slots] in base64, empty slots with the number of experts'),
  }),
  z.object({ type: z.literal('done'), images: z.array(bytes), height: z.number().int(), width: z.number().int(), seconds: z.number() }),
  z.object({ type: z.literal('error'), code: z.string(), message: z.string() }),
]);
const errorSchema = z.object({ error: z.object({ code: z.string(), message: z.string() }) });

const schemaOf = (schema: z.ZodType, io: 'input' | 'output' = 'output'): object => {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io });
  return rest;
};

/** The OpenAPI 3.1 description. */
export function openApi(version: string): object {
  const refusal = (description: string) => ({
    description,
    content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
  });
  const refusals = {
    '401': refusal('The token is missing or wrong'),
    '403': refusal('Host or origin are not allowed'),
    '405': refusal('Another method is needed'),
  };
  return {
    openapi: '3.1.0',
    info: { title: 'dit-moe-sampler', version, description: 'Samples images from DiT-MoE models on this machine, one request at a time.' },
    paths: {
      '/api/models': {
        get: {
          summary: 'The models that can be chosen',
          responses: {
            '200': {
              description: 'All models',
              content: { 'application/json': { schema: { type: 'array', items: { $ref: '#/components/schemas/Model' } } } },
            },
            ...refusals,
          },
        },
      },
      '/api/samples': {
        post: {
          summary: 'Sample images',
          description:
            'Accept `application/x-ndjson` (default): a line for every event, as it happens. Accept `image/png`: one picture with all images. Closing the connection cancels the work.',
          requestBody: { required: true, content: { 'application/json': { schema: { $ref: '#/components/schemas/SampleRequest' } } } },
          responses: {
            '200': {
              description: 'Events, the last one `done` or `error`; or the picture',
              content: {
                'application/x-ndjson': { schema: { $ref: '#/components/schemas/SampleEvent' } },
                'image/png': { schema: { type: 'string', format: 'binary' } },
              },
            },
            '400': refusal('The body is not JSON, or a field is out of range'),
            ...refusals,
            '408': refusal('The request took too long to arrive'),
            '413': refusal('The body is too large'),
            '415': refusal('The body is not `application/json`'),
            '429': refusal('Too many requests are waiting; see `Retry-After`'),
            '500': refusal('The sampler failed'),
          },
        },
      },
      '/api/openapi.json': {
        get: {
          summary: 'This description',
          responses: {
            '200': { description: 'OpenAPI 3.1', content: { 'application/json': { schema: { type: 'object' } } } },
            ...refusals,
          },
        },
      },
    },
    components: {
      schemas: {
        Model: schemaOf(modelSchema),
        SampleRequest: schemaOf(sampleRequestSchema, 'input'),
        SampleEvent: schemaOf(eventSchema),
        Error: schemaOf(errorSchema),
      },
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
    },
    security: [{}, { token: [] }],
  };
}
