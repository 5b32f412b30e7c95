/** The classes: ticked where there are few, typed where there are many. */
import type { ModelInfo } from '../serve/protocol.js';
import { Field } from './field.js';

/** More classes than this are typed instead of ticked. */
const MAX_TICKED = 24;

export function ClassField({ model, value, onChange }: { model: ModelInfo; value: string; onChange(value: string): void }) {
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
