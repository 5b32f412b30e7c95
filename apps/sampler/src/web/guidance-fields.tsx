/** The part of the form that says how guidance is applied: the rule with its numbers, and what it leads away from. */
import type { RuleChoice } from '../serve/choices.js';
import type { ModelInfo } from '../serve/protocol.js';
import { Field, Words } from './field.js';
import { ruleOfText, textOfRule } from './guidance-rule.js';

export interface GuidanceFieldsProps {
  rules: readonly RuleChoice[];
  /** The rule as text. */
  rule: string;
  onRule(rule: string): void;
  /** Those that can guide the model. */
  models: readonly ModelInfo[];
  guideWith: string;
  onGuide(guideWith: string): void;
}

export function GuidanceFields({ rules, rule, onRule, models, guideWith, onGuide }: GuidanceFieldsProps) {
  const written = ruleOfText(rule);
  const chosen = rules.find(({ name }) => name === written.name)!;
  return (
    <>
      <Field id="rule" label="Guidance rule" hint={chosen.title}>
        <select id="rule" value={written.name} aria-describedby="rule-hint" onChange={(event) => onRule(event.currentTarget.value)}>
          <Words of={rules} />
        </select>
      </Field>
      {Object.keys(chosen.numbers).length > 0 && (
        <div class="pair">
          {Object.entries(chosen.numbers).map(([name, usual]) => (
            <Field key={name} id={`rule-${name}`} label={name}>
              <input
                id={`rule-${name}`}
                inputMode="decimal"
                autocomplete="off"
                placeholder={usual === null ? 'none' : String(usual)}
                value={written.numbers[name] ?? ''}
                onInput={(event) => onRule(textOfRule({ ...written, numbers: { ...written.numbers, [name]: event.currentTarget.value } }))}
              />
            </Field>
          ))}
        </div>
      )}
      {models.length > 0 && (
        <Field id="guideWith" label="Guide with" hint="What guidance leads away from: this model without its class, or a weaker one.">
          <select
            id="guideWith"
            value={guideWith}
            aria-describedby="guideWith-hint"
            onChange={(event) => onGuide(event.currentTarget.value)}
          >
            <option value="">no class</option>
            {models.map(({ id, name, step }) => (
              <option key={id} value={id}>
                {name} (step {step})
              </option>
            ))}
          </select>
        </Field>
      )}
    </>
  );
}
