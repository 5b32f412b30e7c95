/** The form: what is to be sampled. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Choices } from '../serve/choices.js';
import type { ModelInfo, SampleRequest } from '../serve/protocol.js';
import { addressOf } from './address.js';
import { ClassField } from './class-field.js';
import { Field, Words } from './field.js';
import { addressSays, comparable, FieldError, type Fields, initialFields, ofModel, toRequests } from './form-requests.js';
import { GuidanceFields } from './guidance-fields.js';
import type { Start } from './start.js';
import { StartField, type StartFieldProps } from './start-field.js';

const MAX_SEED = 2 ** 31;

export interface SettingsFormProps extends Pick<StartFieldProps, 'onStart' | 'onFile'> {
  models: readonly ModelInfo[];
  choices: Choices;
  /** The picture to start from, if there is one. */
  start: Start | undefined;
  running: boolean;
  stoppable: boolean;
  /** What the sampler refused. */
  refused: FieldError | undefined;
  /** Receives a request for each model and guidance scale. */
  onSample(requests: SampleRequest[]): void;
  /** A model is chosen and nothing was asked of it yet; or the page's address asks for something. */
  onLook(model: ModelInfo, requests?: SampleRequest[]): void;
  onStop(): void;
  /** Receives a checkpoint's file. */
  onOpen(file: File): void;
}

export function SettingsForm(props: SettingsFormProps) {
  const { models, choices, start, running, stoppable, refused, onStart, onFile, onSample, onLook, onStop, onOpen } = props;
  const { solvers } = choices;
  const [fields, setFields] = useState<Fields>(() => initialFields(models, choices));
  const [mistake, setMistake] = useState<FieldError | undefined>();
  const problem = mistake ?? refused;
  const model = models.find(({ id }) => id === fields.model)!;
  const set = (change: Partial<Fields>): void => setFields((before) => ({ ...before, ...change }));
  const choose = (id: string): void => set(ofModel(models.find((one) => one.id === id)!));
  const compared = fields.compare.split(',').filter((id) => id !== '');
  const others = comparable(model, models);
  const known = useRef(models.length);
  useEffect(() => {
    // A checkpoint that has just been opened is what its owner wants to see.
    if (models.length > known.current) choose(models.at(-1)!.id);
    known.current = models.length;
  }, [models]);
  useEffect(() => {
    if (refused !== undefined) document.getElementById(refused.field)?.focus();
  }, [refused]);
  const asked = useRef(addressSays());
  useEffect(() => {
    try {
      onLook(model, asked.current ? toRequests(fields, model, models, undefined) : undefined);
    } catch (found) {
      if (!(found instanceof FieldError)) throw found;
      setMistake(found);
    }
    asked.current = false;
  }, [model]);
  const text = (name: keyof Fields, mode: 'numeric' | 'decimal' | 'text' = 'text') => ({
    id: name,
    name,
    inputMode: mode,
    autocomplete: 'off',
    value: fields[name],
    'aria-invalid': problem?.field === name,
    onInput: (event: { currentTarget: HTMLInputElement }) => set({ [name]: event.currentTarget.value }),
  });
  const submit = (event: Event): void => {
    event.preventDefault();
    try {
      onSample(toRequests(fields, model, models, start));
      setMistake(undefined);
      history.replaceState(null, '', addressOf({ ...fields }));
    } catch (found) {
      if (!(found instanceof FieldError)) throw found;
      setMistake(found);
      document.getElementById(found.field)?.focus();
    }
  };
  const wrong = (...names: (keyof Fields)[]) =>
    problem !== undefined && names.includes(problem.field) ? (
      <p class="error" role="alert">
        {problem.message}
      </p>
    ) : null;
  return (
    <form class="card" onSubmit={submit} aria-label="What to sample">
      {models.length > 1 && (
        <Field id="model" label="Checkpoint">
          <select id="model" value={fields.model} onChange={(event) => choose(event.currentTarget.value)}>
            {models.map(({ id, name, step }) => (
              <option key={id} value={id}>
                {name} (step {step})
              </option>
            ))}
          </select>
        </Field>
      )}
      <div class="field">
        <label class="file">
          Open a file of weights
          <input
            type="file"
            accept=".safetensors,.pt,.pth,.bin,.ckpt"
            onChange={(event) => {
              const file = event.currentTarget.files?.[0];
              event.currentTarget.value = '';
              if (file !== undefined) onOpen(file);
            }}
          />
        </label>
        <p class="hint">A .safetensors or .pt file, also dropped anywhere on the page. It stays in this browser.</p>
      </div>
      {others.length > 0 && (
        <fieldset>
          <legend>Compare with</legend>
          <div class="classes">
            {others.map(({ id, name, router }) => (
              <label key={id}>
                <input
                  type="checkbox"
                  checked={compared.includes(id)}
                  onChange={() =>
                    set({ compare: (compared.includes(id) ? compared.filter((one) => one !== id) : [...compared, id]).join(',') })
                  }
                />
                {name}
                {router !== '' && ` (router ${router})`}
              </label>
            ))}
          </div>
        </fieldset>
      )}
      <ClassField model={model} value={fields.classes} onChange={(classes) => set({ classes })} />
      {wrong('classes')}
      <div class="pair">
        <Field id="count" label="Images of each">
          <input {...text('count', 'numeric')} />
        </Field>
        <Field id="seed" label="Seed">
          <input {...text('seed', 'numeric')} />
        </Field>
      </div>
      {wrong('count', 'seed')}
      <button type="button" onClick={() => set({ seed: String(Math.floor(Math.random() * MAX_SEED)) })}>
        New seed
      </button>
      <div class="pair">
        <Field id="solver" label="Solver">
          <select
            id="solver"
            value={fields.solver}
            onChange={(event) =>
              set({
                solver: event.currentTarget.value,
                steps: solvers.find(({ name }) => name === event.currentTarget.value)?.steps?.toString() ?? '',
              })
            }
          >
            <Words of={solvers} />
          </select>
        </Field>
        <Field id="steps" label="Steps">
          <input {...text('steps', 'numeric')} placeholder="by error" />
        </Field>
      </div>
      {wrong('solver', 'steps')}
      <Field id="cache" label="Evaluations of the model">
        <select id="cache" value={fields.cache} onChange={(event) => set({ cache: event.currentTarget.value })}>
          <option value="">in every step</option>
          <option value="exact">exact: fewer, about a grey level away</option>
          <option value="fast">fast: about half of 50</option>
          {[...new Set(['2', '3', '4', fields.cache])]
            .filter((text) => Number(text) >= 2)
            .map((n) => (
              <option key={n} value={n}>
                every {n === '2' ? '2nd' : n === '3' ? '3rd' : `${n}th`} one
              </option>
            ))}
        </select>
      </Field>
      {wrong('cache')}
      <Field id="guidance" label="Guidance scale" hint="Several, such as 1, 2, 4, are compared row by row.">
        <input {...text('guidance')} aria-describedby="guidance-hint" />
      </Field>
      {wrong('guidance')}
      <GuidanceFields
        rules={choices.rules}
        rule={fields.rule}
        onRule={(rule) => set({ rule })}
        models={models.filter(({ id }) => model.guides.includes(id))}
        guideWith={fields.guideWith}
        onGuide={(guideWith) => set({ guideWith })}
      />
      {wrong('rule', 'guideWith')}
      <div class="pair">
        <Field id="from" label="Guidance from">
          <input {...text('from', 'decimal')} aria-describedby="interval-hint" />
        </Field>
        <Field id="to" label="to time">
          <input {...text('to', 'decimal')} aria-describedby="interval-hint" />
        </Field>
      </div>
      {wrong('from', 'to')}
      <p class="hint" id="interval-hint">
        1 is noise, 0 the finished image; outside, guidance costs nothing.
      </p>
      {model.encodes && (
        <StartField
          model={model}
          start={start}
          onStart={onStart}
          onFile={onFile}
          strength={
            <Field id="strength" label="Strength" hint="From 0 to 1: how much of the picture turns to noise.">
              <input
                {...text('strength', 'decimal')}
                placeholder={start?.mask === undefined ? '0.6' : '1'}
                aria-describedby="strength-hint"
              />
            </Field>
          }
        />
      )}
      {wrong('strength')}
      <div class="actions sticky">
        <button class="primary" type="submit" disabled={running}>
          Sample
        </button>
        <button type="button" disabled={!stoppable} onClick={onStop}>
          Stop
        </button>
      </div>
    </form>
  );
}
