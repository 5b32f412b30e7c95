/** A field of the form: its label, what is typed or chosen, and a hint. */
import type { ComponentChildren } from 'preact';

export function Field({ id, label, hint, children }: { id: string; label: string; hint?: string; children: ComponentChildren }) {
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children}
      {hint !== undefined && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}

/** What a select offers: words, and when to use each. */
export const Words = ({ of }: { of: readonly { name: string; title: string }[] }) =>
  of.map(({ name, title }) => (
    <option key={name} value={name} title={title}>
      {name}
    </option>
  ));
