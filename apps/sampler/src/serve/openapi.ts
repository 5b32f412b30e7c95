/** Schemas of the API, which check requests and make its OpenAPI description. */
import { sampleSettings } from '@dit-moe/pipeline';
import {
  flag,
  integer,
  list,
  number,
  object,
  optional,
  pair,
  type Setting,
  text,
  variants,
  withDefault,
  within,
} from '@dit-moe/tensor-ops/settings';
import { limits } from './protocol.js';

const { seed, solver, steps, guidance, guidanceRule, interval, cache } = sampleSettings.fields;

/** Body of `POST /api/samples`: settings of a sampling, within limits. Classes and models are checked against what is there. */
export const requestSettings = object({
  model: text('`id` of one of the models of `/api/models`'),
  labels: list(integer('a class', { least: 0 }), 'class of each image; image `i` has the noise of (seed, i)', {
    least: 1,
    most: limits.images,
  }),
  seed: withDefault(seed as Setting<number>, 0),
  solver,
  steps: optional(within(steps as Setting<number>, { most: limits.steps })),
  guidance: optional(within(guidance as Setting<number>, { least: -limits.guidance, most: limits.guidance })),
  guidanceRule,
  guideWith: optional(text('a weaker model to guide with, one of the `guides` of the model (default: the model without its label)')),
  interval,
  cache,
  init: optional(
    object(
      {
        pixels: text('RGB bytes [height, width, 3] in base64'),
        strength: optional(number('how much noise; 1 keeps nothing of the picture (default 0.6; 1 with a mask)', { above: 0, most: 1 })),
        mask: optional(text('bytes [height, width] in base64, above 127 where the image is to be new')),
      },
      "a picture of the size of the model's to start from, or to complete, for models that say `encodes` (default: noise alone)",
    ),
  ),
  idle: optional(
    flag('only in time that nobody else wants: it goes after all others and ends with `E_GAVE_WAY` when one comes (default: false)'),
  ),
});

const whole = (description: string) => integer(description, { least: 0 });
const bytes = (description: string) => text(`${description} in base64`);
const modelSchema = object({
  id: text('for requests'),
  name: text('for people'),
  step: whole('training steps'),
  classNames: list(text('name of a class'), 'in the order of the labels'),
  height: whole('of the pictures in pixels'),
  width: whole('of the pictures in pixels'),
  channels: whole('of the pictures'),
  grid: pair(whole('patches'), 'patches per column and row'),
  layers: whole('layers with experts'),
  experts: whole('of each of these layers; 0 for dense models'),
  router: text('who chooses the experts of a patch'),
  expertsPerPatch: list(number('a mean'), 'experts of a patch, by layer with experts'),
  expertsVary: flag('whether patches have different numbers of experts'),
  encodes: flag('whether a picture can be given to start from'),
  guided: flag('whether other guidance scales than 1 are possible without a second model'),
  guides: list(text('a model'), 'models that it can be guided with'),
  defaults: object(
    {
      solver: text('name of a solver'),
      steps: whole('solver steps'),
      guidance: number('scale of guidance'),
      guidanceRule: optional(text('of the two predictions')),
    },
    'unless a request says otherwise',
  ),
}).schema;
const eventSchema = variants(
  'type',
  {
    queued: { position: whole('requests before this one') },
    step: {
      step: whole('number of the step, from 1'),
      steps: whole('of the whole sampling'),
      time: number('time reached, as the model is told it'),
      pixels: bytes('the clean images as predicted now: bytes [B, height, width, channels]'),
      height: whole('in pixels'),
      width: whole('in pixels'),
      channels: whole('1 or 3'),
      experts: optional(
        bytes('experts of every patch, best first: bytes [layers, B, patches, slots], empty slots with the number of experts,'),
      ),
    },
    done: {
      images: list(bytes('a PNG'), 'the images, with their settings in the `Comment` text'),
      height: whole('in pixels'),
      width: whole('in pixels'),
      seconds: number('time that it took'),
    },
    error: { code: text('for programs'), message: text('for people') },
  },
  'a line of the answer',
).schema;
const errorSchema = object({
  error: object(
    { code: text('for programs'), message: text('for people'), where: optional(text('names the setting that it is about, if it is one')) },
    'what is wrong',
  ),
}).schema;

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
        Model: modelSchema,
        SampleRequest: requestSettings.schema,
        SampleEvent: eventSchema,
        Error: errorSchema,
      },
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
    },
    security: [{}, { token: [] }],
  };
}
