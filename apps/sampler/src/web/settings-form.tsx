/** The form: what is to be sampled. */
import { useState } from 'preact/hooks';
import type { Choices } from '../serve/choices.js';
import { limits, type ModelInfo, type SampleRequest } from '../serve/protocol.js';
import { addressOf, fieldsOfAddress } from './address.js';
import { Field, Words } from './field.js';
import { GuidanceFields } from './guidance-fields.js';
import { ruleOfText } from './guidance-rule.js';

/** More classes than this are typed instead of ticked. */
const MAX_TICKED = 24;
const MAX_SEED = 2 ** 31;

export interface SettingsFormProps {
  models: readonly ModelInfo[];
  choices: Choices;
  running: boolean;
  /** Receives a request for each guidance scale. */
  onSample(requests: SampleRequest[]): void;
  onStop(): void;
}

/** `rule` is a rule of guidance with its numbers, as the command line has it; `guideWith` is empty for the model without its label. */
const FIELDS = ['model', 'classes', 'count', 'seed', 'solver', 'steps', 'guidance', 'rule', 'guideWith', 'from', 'to'] as const;
type Fields = Record<(typeof FIELDS)[number], string>;

/** What is wrong with a field, for people. */
class FieldError extends Error {
  constructor(
    readonly field: keyof Fields,
    message: string,
  ) {
    super(message);
  }
}

/** A whole number of the text in a range. */
function whole(field: keyof Fields, name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isInteger(value) || value < least || value > most)
    throw new FieldError(field, `${name}: expected a whole number from ${least} to ${most}.`);
  return value;
}

function decimal(field: keyof Fields, name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= least && value <= most))
    throw new FieldError(field, `${name}: expected a number from ${least} to ${most}.`);
  return value;
}

/** Labels of names or numbers, separated by commas. */
function parseClassText(text: string, classNames: readonly string[]): number[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => {
      const label = classNames.includes(part) ? classNames.indexOf(part) : Number(part);
      if (!Number.isInteger(label) || label < 0 || label >= classNames.length)
        throw new FieldError('classes', `Classes: there is no "${part}".`);
      return label;
    });
}

/** The requests of a filled form, one for each guidance scale. */
function toRequests(fields: Fields, model: ModelInfo): SampleRequest[] {
  const classes = parseClassText(fields.classes, model.classNames);
  if (classes.length === 0) throw new FieldError('classes', 'Classes: choose at least one.');
  const count = whole('count', 'Images of each', fields.count, 1, limits.images);
  const labels = classes.flatMap((label) => Array<number>(count).fill(label));
  if (labels.length > limits.images)
    throw new FieldError('count', `${labels.length} images are too many at once: at most ${limits.images}.`);
  const scales = fields.guidance.split(',').map((text) => decimal('guidance', 'Guidance', text, -limits.guidance, limits.guidance));
  const [from, to] = [decimal('from', 'Guidance from', fields.from, 0, 1), decimal('to', 'Guidance to', fields.to, 0, 1)];
  if (from > to) throw new FieldError('from', 'Guidance: "from" must not be above "to".');
  for (const [name, value] of Object.entries(ruleOfText(fields.rule).numbers))
    if (!Number.isFinite(Number(value))) throw new FieldError('rule', `Guidance rule: expected a number for ${name}.`);
  return scales.map((guidance) => ({
    model: model.id,
    labels,
    seed: whole('seed', 'Seed', fields.seed, 0, Number.MAX_SAFE_INTEGER),
    solver: fields.solver,
    ...(fields.steps.trim() !== '' && { steps: whole('steps', 'Steps', fields.steps, 1, limits.steps) }),
    guidance,
    ...(fields.rule !== (model.defaults.guidanceRule ?? 'cfg') && { guidanceRule: fields.rule }),
    ...(fields.guideWith !== '' && { guideWith: fields.guideWith }),
    ...((from > 0 || to < 1) && { interval: [from, to] as [number, number] }),
  }));
}

/** The form as the page's address says, for the rest as the model is sampled by default. */
function initialFields(models: readonly ModelInfo[], { solvers, rules }: Choices): Fields {
  const given = fieldsOfAddress(location.hash, FIELDS);
  const model = models.find(({ id }) => id === given.model) ?? models[0];
  const fields: Fields = { ...ofModel(model), count: '1', seed: '0', from: '0', to: '1', ...given, model: model.id };
  if (!solvers.some(({ name }) => name === fields.solver)) fields.solver = model.defaults.solver;
  if (!rules.some(({ name }) => name === ruleOfText(fields.rule).name)) fields.rule = ofModel(model).rule;
  if (!model.guides.includes(fields.guideWith)) fields.guideWith = '';
  try {
    // Ticked classes are numbers, whatever the address calls them.
    fields.classes = parseClassText(fields.classes, model.classNames).join(', ');
  } catch {
    // Whoever presses the button is told.
  }
  return fields;
}

/** What to begin with for a model: its first classes, its own settings. */
const ofModel = ({ id, classNames, defaults }: ModelInfo) => ({
  model: id,
  classes: [...classNames.slice(0, 10).keys()].join(', '),
  solver: defaults.solver,
  steps: String(defaults.steps),
  guidance: String(defaults.guidance),
  rule: defaults.guidanceRule ?? 'cfg',
  guideWith: '',
});

export function SettingsForm({ models, choices, running, onSample, onStop }: SettingsFormProps) {
  const { solvers } = choices;
  const [fields, setFields] = useState<Fields>(() => initialFields(models, choices));
  const [problem, setProblem] = useState<FieldError | undefined>();
  const model = models.find(({ id }) => id === fields.model)!;
  const set = (change: Partial<Fields>): void => setFields((before) => ({ ...before, ...change }));
  const choose = (id: string): void => set(ofModel(models.find((one) => one.id === id)!));
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
      onSample(toRequests(fields, model));
      setProblem(undefined);
      history.replaceState(null, '', addressOf({ ...fields }));
    } catch (found) {
      if (!(found instanceof FieldError)) throw found;
      setProblem(found);
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
      <div class="actions">
        <button class="primary" type="submit" disabled={running}>
          Sample
        </button>
        <button type="button" disabled={!running} onClick={onStop}>
          Stop
        </button>
      </div>
    </form>
  );
}

function ClassField({ model, value, onChange }: { model: ModelInfo; value: string; onChange(value: string): void }) {
  const { classNames } = model;
  if (classNames.length > MAX_TICKED)
    return (
      <Field id="classes" label="Classes" hint={`Names or numbers from 0 to ${classNames.length - 1}, separated by commas.`}>
        <input
          id="classes"
          list="class-names"
          autocomplete="off"
          value={value}
          aria-describedby="classes-hint"
          onInput={(event) => onChange(event.currentTarget.value)}
        />
        <datalist id="class-names">
          {classNames.map((name, label) => (
            <option key={label} value={name} />
          ))}
        </datalist>
      </Field>
    );
  const chosen = new Set(value.split(',').map((part) => Number(part.trim() || Number.NaN)));
  const toggle = (label: number): void => {
    if (!chosen.delete(label)) chosen.add(label);
    onChange(
      [...chosen]
        .filter(Number.isInteger)
        .sort((a, b) => a - b)
        .join(', '),
    );
  };
  return (
    <fieldset>
      <legend>Classes</legend>
      <div class="classes">
        {classNames.map((name, label) => (
          <label key={label}>
            <input type="checkbox" checked={chosen.has(label)} onChange={() => toggle(label)} />
            {name}
          </label>
        ))}
      </div>
    </fieldset>
  );
}
